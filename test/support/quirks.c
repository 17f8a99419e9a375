/*
 * A PKCS#11 module that passes every call to SoftHSM2 (or to the module BKV_QUIRKS_OF) and alters it as the file BKV_QUIRKS
 * says, one quirk a line. The file is read again whenever it changes. NAME is a function's name in PKCS#11, or `*` for all.
 * RV is a hexadecimal CK_RV.
 *
 *   slow NAME MS              the call takes MS milliseconds longer
 *   hang NAME                 the call does not return while the line is there
 *   fail NAME RV              the call fails
 *   fail NAME RV first        it fails on the session that was the oldest when the line was added
 *   fail NAME RV last         it fails on the session that was the newest then
 *   fail NAME RV after N      it fails from call N+1 on, counted since the line was added
 *   fail NAME RV once         it fails until C_Finalize
 *   drop RV                   the connection to the device is lost once: all sessions and the login are gone. A call in an
 *                             old session fails with RV; new sessions can be opened
 *   busy NAME                 writes to BKV_QUIRKS.busy the largest number of calls under way at once, and the mean number
 *                             at the start of a call
 *   flags HEX                 adds flags to those of the token
 *   sessions N                C_OpenSession fails beyond N sessions of the process
 *   own-handles               an object's handle is valid only on the thread that got it
 *   point raw|compressed|bits the encoding of CKA_EC_POINT
 *   peer der                  C_DeriveKey takes the peer's point as a DER OCTET STRING only
 *   object BYTES              no larger value is stored
 *   finds N                   C_FindObjects gives N objects at most, however many were asked for
 *   foreign                   other programs' objects have no readable label or value
 *   keeps                     a secret key that is created becomes a token object, whatever its CKA_TOKEN
 *   arguments TEXT            C_Initialize requires these LibraryParameters
 *   lacks MECHANISM           the mechanism (hexadecimal) is not listed
 *   empty                     no slot has a token
 *   templates                 a read of CKA_UNWRAP_TEMPLATE crashes the process, as with openCryptoki
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkcs11.h"

typedef CK_ULONG Word;
typedef CK_RV (*Function)(Word, Word, Word, Word, Word, Word, Word, Word);

#define FUNCTIONS(X) \
  X(C_Initialize) X(C_Finalize) X(C_GetInfo) X(C_GetSlotList) X(C_GetSlotInfo) X(C_GetTokenInfo) \
  X(C_GetMechanismList) X(C_GetMechanismInfo) X(C_InitToken) X(C_InitPIN) X(C_SetPIN) X(C_OpenSession) \
  X(C_CloseSession) X(C_CloseAllSessions) X(C_GetSessionInfo) X(C_GetOperationState) X(C_SetOperationState) \
  X(C_Login) X(C_Logout) X(C_CreateObject) X(C_CopyObject) X(C_DestroyObject) X(C_GetObjectSize) \
  X(C_GetAttributeValue) X(C_SetAttributeValue) X(C_FindObjectsInit) X(C_FindObjects) X(C_FindObjectsFinal) \
  X(C_EncryptInit) X(C_Encrypt) X(C_EncryptUpdate) X(C_EncryptFinal) X(C_DecryptInit) X(C_Decrypt) \
  X(C_DecryptUpdate) X(C_DecryptFinal) X(C_DigestInit) X(C_Digest) X(C_DigestUpdate) X(C_DigestKey) \
  X(C_DigestFinal) X(C_SignInit) X(C_Sign) X(C_SignUpdate) X(C_SignFinal) X(C_SignRecoverInit) X(C_SignRecover) \
  X(C_VerifyInit) X(C_Verify) X(C_VerifyUpdate) X(C_VerifyFinal) X(C_VerifyRecoverInit) X(C_VerifyRecover) \
  X(C_DigestEncryptUpdate) X(C_DecryptDigestUpdate) X(C_SignEncryptUpdate) X(C_DecryptVerifyUpdate) \
  X(C_GenerateKey) X(C_GenerateKeyPair) X(C_WrapKey) X(C_UnwrapKey) X(C_DeriveKey) X(C_SeedRandom) \
  X(C_GenerateRandom) X(C_GetFunctionStatus) X(C_CancelFunction) X(C_WaitForSlotEvent)

enum {
#define X(name) I_##name,
  FUNCTIONS(X)
#undef X
      COUNT
};
static const char *const names[] = {
#define X(name) #name,
    FUNCTIONS(X)
#undef X
};

static CK_FUNCTION_LIST *real, ours;
static Function functions[COUNT];

/* ---- sessions, in the order in which they were opened ---- */

static Word sessions[1024];
static int session_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void session_opened(Word handle) {
  pthread_mutex_lock(&lock);
  if (session_count < 1024) sessions[session_count++] = handle;
  pthread_mutex_unlock(&lock);
}
static void session_closed(Word handle) {
  pthread_mutex_lock(&lock);
  for (int i = 0; i < session_count; i++)
    if (sessions[i] == handle) {
      memmove(&sessions[i], &sessions[i + 1], (--session_count - i) * sizeof *sessions);
      break;
    }
  pthread_mutex_unlock(&lock);
}

/* ---- quirks ---- */

typedef struct {
  char kind[16], name[40], text[80];
  Word value, number;
  char how[16];
  Word calls;
  int spent;
} Quirk;

#define MOST 16
static Quirk quirks[MOST];
static int quirk_count;
static struct timespec read_at;
static off_t read_size = -1;

static void read_quirks(void) {
  const char *path = getenv("BKV_QUIRKS");
  struct stat now;
  pthread_mutex_lock(&lock);
  if (!path || stat(path, &now)) quirk_count = 0, read_size = -1;
  else if (now.st_size != read_size || memcmp(&now.st_mtim, &read_at, sizeof read_at)) {
    read_at = now.st_mtim;
    read_size = now.st_size;
    quirk_count = 0;
    FILE *file = fopen(path, "r");
    char line[160];
    while (file && quirk_count < MOST && fgets(line, sizeof line, file)) {
      Quirk quirk;
      memset(&quirk, 0, sizeof quirk);
      if (sscanf(line, "%15s %39s %79s %15s %lu", quirk.kind, quirk.name, quirk.text, quirk.how, &quirk.number) < 1)
        continue;
      if (!strcmp(quirk.how, "first")) quirk.number = session_count ? sessions[0] : 0;
      if (!strcmp(quirk.how, "last")) quirk.number = session_count ? sessions[session_count - 1] : 0;
      quirk.value = strtoul(quirk.text, NULL, strcmp(quirk.kind, "fail") ? 10 : 16);
      quirks[quirk_count++] = quirk;
    }
    if (file) fclose(file);
  }
  pthread_mutex_unlock(&lock);
}

static Quirk *quirk_of(const char *kind);

/* ---- a connection that is lost ---- */

/* Every call holds it shared. Whoever closes all sessions holds it exclusively. */
static pthread_rwlock_t connection = PTHREAD_RWLOCK_INITIALIZER;
static int dropping;

static void drop(void) {
  int now = quirk_of("drop") != NULL;
  if (!__atomic_exchange_n(&dropping, now, __ATOMIC_SEQ_CST) && now) {
    CK_SLOT_ID slots[64];
    Word count = 64;
    pthread_rwlock_wrlock(&connection);
    if (real->C_GetSlotList(CK_TRUE, slots, &count) == CKR_OK)
      for (Word i = 0; i < count; i++) real->C_CloseAllSessions(slots[i]);
    session_count = 0;
    pthread_rwlock_unlock(&connection);
  }
}

/* ---- calls under way ---- */

static struct { Word now, most, sum, calls; } busy;

static void begin(void) {
  pthread_mutex_lock(&lock);
  busy.now++;
  busy.calls++;
  busy.sum += busy.now;
  if (busy.now > busy.most) busy.most = busy.now;
  char path[256];
  snprintf(path, sizeof path, "%s.busy", getenv("BKV_QUIRKS"));
  FILE *file = fopen(path, "w");
  if (file) fprintf(file, "%lu %f\n", busy.most, (double)busy.sum / busy.calls), fclose(file);
  pthread_mutex_unlock(&lock);
}
static void end(void) {
  __atomic_sub_fetch(&busy.now, 1, __ATOMIC_SEQ_CST);
}

static Quirk *quirk_of(const char *kind) {
  for (int i = 0; i < quirk_count; i++)
    if (!strcmp(quirks[i].kind, kind)) return &quirks[i];
  return NULL;
}
static int is_quirk(const char *kind, const char *name) {
  Quirk *quirk = quirk_of(kind);
  return quirk && !strcmp(quirk->name, name);
}

/* ---- handles of objects ---- */

static Word threads;
static __thread Word thread_mark;
#define MARK_SHIFT 40

static Word mark(void) {
  if (!thread_mark) thread_mark = __atomic_add_fetch(&threads, 1, __ATOMIC_SEQ_CST) << MARK_SHIFT;
  return thread_mark;
}

/*
 * Which arguments are object handles: those passed in, and those that the call returns. 0 means none, because argument 0 is
 * the session.
 */
static const struct { int function, in[2], out[2]; CK_RV wrong[2]; } handles[] = {
    {I_C_CreateObject, {0}, {3}, {0}},
    {I_C_CopyObject, {1}, {4}, {CKR_OBJECT_HANDLE_INVALID}},
    {I_C_DestroyObject, {1}, {0}, {CKR_OBJECT_HANDLE_INVALID}},
    {I_C_GetObjectSize, {1}, {0}, {CKR_OBJECT_HANDLE_INVALID}},
    {I_C_GetAttributeValue, {1}, {0}, {CKR_OBJECT_HANDLE_INVALID}},
    {I_C_SetAttributeValue, {1}, {0}, {CKR_OBJECT_HANDLE_INVALID}},
    {I_C_EncryptInit, {2}, {0}, {CKR_KEY_HANDLE_INVALID}},
    {I_C_DecryptInit, {2}, {0}, {CKR_KEY_HANDLE_INVALID}},
    {I_C_SignInit, {2}, {0}, {CKR_KEY_HANDLE_INVALID}},
    {I_C_VerifyInit, {2}, {0}, {CKR_KEY_HANDLE_INVALID}},
    {I_C_GenerateKey, {0}, {4}, {0}},
    {I_C_GenerateKeyPair, {0}, {6, 7}, {0}},
    {I_C_WrapKey, {2, 3}, {0}, {CKR_WRAPPING_KEY_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID}},
    {I_C_UnwrapKey, {2}, {7}, {CKR_UNWRAPPING_KEY_HANDLE_INVALID}},
    {I_C_DeriveKey, {2}, {5}, {CKR_KEY_HANDLE_INVALID}},
};

static CK_RV own_handles(int f, Word *a) {
  for (size_t i = 0; i < sizeof handles / sizeof *handles; i++)
    for (int j = 0; j < 2 && handles[i].function == f; j++)
      if (handles[i].in[j]) {
        Word *handle = &a[handles[i].in[j]];
        if ((*handle >> MARK_SHIFT << MARK_SHIFT) != mark()) return handles[i].wrong[j];
        *handle -= mark();
      }
  return CKR_OK;
}
static void mark_handles(int f, Word *a) {
  if (f == I_C_FindObjects)
    for (Word i = 0; i < *(Word *)a[3]; i++) ((Word *)a[1])[i] += mark();
  for (size_t i = 0; i < sizeof handles / sizeof *handles; i++)
    for (int j = 0; j < 2 && handles[i].function == f; j++)
      if (handles[i].out[j]) *(Word *)a[handles[i].out[j]] += mark();
}

/* ---- attributes ---- */

static CK_ATTRIBUTE *attribute(Word template, Word count, CK_ATTRIBUTE_TYPE type) {
  CK_ATTRIBUTE *all = (CK_ATTRIBUTE *)template;
  for (Word i = 0; i < count; i++)
    if (all[i].type == type) return &all[i];
  return NULL;
}

static CK_RV get(Word session, Word object, CK_ATTRIBUTE_TYPE type, void *value, Word *length) {
  CK_ATTRIBUTE one = {type, value, *length};
  CK_RV rv = real->C_GetAttributeValue(session, object, &one, 1);
  *length = one.ulValueLen;
  return rv;
}

/* A token object whose label does not begin with "bkv.". */
static int is_foreign(Word session, Word object) {
  char label[64];
  CK_BBOOL token = CK_FALSE;
  Word length = sizeof label, one = sizeof token;
  if (get(session, object, CKA_TOKEN, &token, &one) != CKR_OK || !token) return 0;
  return get(session, object, CKA_LABEL, label, &length) == CKR_OK && (length < 4 || memcmp(label, "bkv.", 4));
}

static int is_unreadable(CK_ATTRIBUTE_TYPE type) { return type == CKA_LABEL || type == CKA_VALUE; }

/* @return length of the re-encoded point, bytes */
static Word reshape(const unsigned char *der, unsigned char *to, const char *form) {
  const unsigned char *point = der + 2;
  if (!strcmp(form, "raw")) return memcpy(to, point, 65), 65;
  if (!strcmp(form, "bits")) {
    memcpy(to, "\x03\x42\x00", 3);
    memcpy(to + 3, point, 65);
    return 68;
  }
  memcpy(to, "\x04\x21", 2);
  to[2] = 2 + (point[64] & 1);
  memcpy(to + 3, point + 1, 32);
  return 35;
}

static CK_RV attributes(Word *a) {
  Quirk *point = quirk_of("point");
  CK_ATTRIBUTE *asked = (CK_ATTRIBUTE *)a[2];
  int foreign = quirk_of("foreign") && is_foreign(a[0], a[1]);
  unsigned char der[67], shaped[68];
  Word length = sizeof der;
  CK_RV result = CKR_OK;
  for (Word i = 0; i < a[3]; i++) {
    if (foreign && is_unreadable(asked[i].type)) {
      asked[i].ulValueLen = (Word)-1;
      result = CKR_ATTRIBUTE_SENSITIVE;
    } else if (point && asked[i].type == CKA_EC_POINT && get(a[0], a[1], CKA_EC_POINT, der, &length) == CKR_OK) {
      Word size = reshape(der, shaped, point->name);
      if (asked[i].pValue) memcpy(asked[i].pValue, shaped, size);
      asked[i].ulValueLen = size;
    } else {
      CK_RV rv = real->C_GetAttributeValue(a[0], a[1], &asked[i], 1);
      if (rv != CKR_OK) result = rv;
    }
  }
  return result;
}

/* ---- what is altered ---- */

static int initialized;

/* Returned by before() when it has made the call itself. */
#define DONE (CKR_VENDOR_DEFINED | 1)

static int has_session(int f) {
  return f >= I_C_CloseSession && f != I_C_CloseAllSessions && f != I_C_WaitForSlotEvent;
}
static int is_open(Word session) {
  int found = 0;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < session_count; i++) found |= sessions[i] == session;
  pthread_mutex_unlock(&lock);
  return found;
}

static CK_RV before(int f, Word *a) {
  Quirk *quirk;
  if ((quirk = quirk_of("drop")) && has_session(f) && !is_open(a[0])) return strtoul(quirk->name, NULL, 16);
  for (int i = 0; i < quirk_count; i++) {
    quirk = &quirks[i];
    if (strcmp(quirk->name, "*") && strcmp(quirk->name, names[f])) continue;
    if (!strcmp(quirk->kind, "slow")) usleep(quirk->value * 1000);
    if (!strcmp(quirk->kind, "hang"))
      while (is_quirk("hang", "*") || is_quirk("hang", names[f])) usleep(50000), read_quirks();
    if (strcmp(quirk->kind, "fail") || quirk->spent) continue;
    if ((!strcmp(quirk->how, "first") || !strcmp(quirk->how, "last")) && a[0] != quirk->number) continue;
    if (!strcmp(quirk->how, "after") && __atomic_add_fetch(&quirk->calls, 1, __ATOMIC_SEQ_CST) <= quirk->number) continue;
    return quirk->value;
  }
  if ((quirk = quirk_of("sessions")) && f == I_C_OpenSession && (Word)session_count >= strtoul(quirk->name, NULL, 10))
    return CKR_SESSION_COUNT;
  if (quirk_of("empty") && f == I_C_GetSlotList && a[0]) return *(Word *)a[2] = 0, DONE;
  if ((quirk = quirk_of("arguments")) && f == I_C_Initialize) {
    /* NSS's structure: the text stands after the flags. */
    const char *text = a[0] ? ((const char **)a[0])[5] : NULL;
    if (initialized) return CKR_CRYPTOKI_ALREADY_INITIALIZED;
    if (!text || strcmp(text, quirk->name)) return CKR_ARGUMENTS_BAD;
    CK_C_INITIALIZE_ARGS plain = {.flags = ((CK_C_INITIALIZE_ARGS *)a[0])->flags};
    CK_RV rv = real->C_Initialize(&plain);
    initialized = rv == CKR_OK;
    return initialized ? DONE : rv;
  }
  if ((quirk = quirk_of("object")) && f == I_C_CreateObject) {
    CK_ATTRIBUTE *value = attribute(a[1], a[2], CKA_VALUE);
    if (value && value->ulValueLen > strtoul(quirk->name, NULL, 10)) return CKR_ATTRIBUTE_VALUE_INVALID;
  }
  if ((quirk = quirk_of("finds")) && f == I_C_FindObjects && a[2] > strtoul(quirk->name, NULL, 10))
    a[2] = strtoul(quirk->name, NULL, 10);
  if (quirk_of("templates") && f == I_C_GetAttributeValue && attribute(a[2], a[3], CKA_UNWRAP_TEMPLATE)) abort();
  if (quirk_of("keeps") && f == I_C_CreateObject) {
    CK_ATTRIBUTE *class = attribute(a[1], a[2], CKA_CLASS), *token = attribute(a[1], a[2], CKA_TOKEN);
    if (class && token && *(Word *)class->pValue == CKO_SECRET_KEY) *(CK_BBOOL *)token->pValue = CK_TRUE;
  }
  if (is_quirk("peer", "der") && f == I_C_DeriveKey) {
    CK_MECHANISM *mechanism = (CK_MECHANISM *)a[1];
    CK_ECDH1_DERIVE_PARAMS *params = mechanism->pParameter;
    if (mechanism->mechanism == CKM_ECDH1_DERIVE && params->ulPublicDataLen != 67) return CKR_MECHANISM_PARAM_INVALID;
  }
  return CKR_OK;
}

static CK_RV really(int f, Word *a) {
  pthread_rwlock_rdlock(&connection);
  CK_RV rv = f == I_C_GetAttributeValue && (quirk_of("point") || quirk_of("foreign"))
                 ? attributes(a)
                 : functions[f](a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
  if (rv == CKR_OK && f == I_C_OpenSession) session_opened(*(Word *)a[4]);
  pthread_rwlock_unlock(&connection);
  return rv;
}

static CK_RV altered(int f, Word *a) {
  CK_RV rv = before(f, a);
  if (rv != CKR_OK) return rv == DONE ? CKR_OK : rv;
  int own = quirk_of("own-handles") != NULL;
  if (own && (rv = own_handles(f, a)) != CKR_OK) return rv;
  rv = really(f, a);
  if (rv != CKR_OK) return rv;
  if (f == I_C_Initialize) initialized = 1;
  if (f == I_C_Finalize) initialized = 0;
  if (own) mark_handles(f, a);
  if (f == I_C_CloseSession) session_closed(a[0]);
  if (f == I_C_CloseAllSessions || f == I_C_Finalize) session_count = 0;
  if (f == I_C_Finalize)
    for (int i = 0; i < quirk_count; i++)
      if (!strcmp(quirks[i].how, "once")) quirks[i].spent = 1;
  Quirk *flags = quirk_of("flags"), *lacks = quirk_of("lacks");
  if (flags && f == I_C_GetTokenInfo) ((CK_TOKEN_INFO *)a[1])->flags |= strtoul(flags->name, NULL, 16);
  if (lacks && f == I_C_GetMechanismList && a[1]) {
    Word *list = (Word *)a[1], *count = (Word *)a[2], kept = 0;
    for (Word i = 0; i < *count; i++)
      if (list[i] != strtoul(lacks->name, NULL, 16)) list[kept++] = list[i];
    *count = kept;
  }
  return rv;
}

static CK_RV call(int f, Word *a) {
  read_quirks();
  drop();
  if (!is_quirk("busy", names[f])) return altered(f, a);
  begin();
  CK_RV rv = altered(f, a);
  end();
  return rv;
}

#define X(name) \
  static CK_RV our_##name(Word a, Word b, Word c, Word d, Word e, Word f, Word g, Word h) { \
    Word all[] = {a, b, c, d, e, f, g, h}; \
    return call(I_##name, all); \
  }
FUNCTIONS(X)
#undef X

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list) {
  pthread_mutex_lock(&lock);
  if (!real) {
    const char *path = getenv("BKV_QUIRKS_OF");
    void *module = dlopen(path ? path : "/usr/lib/softhsm/libsofthsm2.so", RTLD_NOW);
    CK_C_GetFunctionList get_list = module ? (CK_C_GetFunctionList)dlsym(module, "C_GetFunctionList") : NULL;
    if (!get_list || get_list(&real) != CKR_OK) {
      pthread_mutex_unlock(&lock);
      return CKR_GENERAL_ERROR;
    }
    ours = *real;
#define X(name) \
    functions[I_##name] = (Function)real->name; \
    ours.name = (CK_##name)our_##name;
    FUNCTIONS(X)
#undef X
  }
  pthread_mutex_unlock(&lock);
  *list = &ours;
  return CKR_OK;
}
