/*
 * Preloaded into a daemon by test/io-errors.test.ts. Makes writes below the folder BKV_IO_BELOW fail as on a full or broken
 * disk. The file BKV_IO_PLAN holds a struct plan: calls number first to last fail with that errno. Calls are counted from 1,
 * over all threads and processes, since the file was written. The file is mapped, so that the test and all processes share
 * the count.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct plan {
  uint64_t count, first, last, error;
};

static struct plan *plan;
static char folder[PATH_MAX];
static size_t folder_length;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("BKV_IO_PLAN"), *below = getenv("BKV_IO_BELOW");
  if (!path || !below || !realpath(below, folder)) return;
  folder_length = strlen(folder);
  int file = open(path, O_RDWR);
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof(struct plan), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (mapped != MAP_FAILED) plan = mapped;
}

static int is_below(const char *path) {
  return plan && !strncmp(path, folder, folder_length) && path[folder_length] == '/' && !strstr(path, "-shm");
}

static int is_file_below(int file) {
  char link[64], path[PATH_MAX];
  if (!plan) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return is_below(path);
}

/*
 * Notes in BKV_IO_PLAN.synced whether the sync of a token object's file failed ('-') or not ('+'). A file whose sync failed
 * can be read until the power is cut. An object's first note counts. If the first sync succeeded, the object stays on the
 * disk. If it failed, a later success does not prove that the data reached the disk.
 */
static void note(int file, char synced) {
  char link[64], path[PATH_MAX], line[PATH_MAX + 32];
  struct stat about;
  const char *plan_file = getenv("BKV_IO_PLAN");
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0 || !plan_file || fstat(file, &about) || !S_ISREG(about.st_mode)) return;
  path[length] = 0;
  if (!strstr(path, ".object")) return;
  int size = snprintf(line, sizeof line, "%c %s\n", synced, path);
  snprintf(path, sizeof path, "%s.synced", plan_file);
  int notes = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (notes < 0) return;
  static ssize_t (*real)(int, const void *, size_t);
  if (!real) real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  real(notes, line, (size_t)size);
  close(notes);
}

static int is_planned(uint64_t number) {
  uint64_t last = __atomic_load_n(&plan->last, __ATOMIC_SEQ_CST);
  if (number < plan->first || number > last) return 0;
  errno = (int)plan->error;
  return 1;
}

/* Whether this call fails, which needs room on the disk or must reach it. If so, errno is set. */
static int fails(void) { return is_planned(__atomic_add_fetch(&plan->count, 1, __ATOMIC_SEQ_CST)); }

/* The same for a call that succeeds even on a full disk. */
static int breaks(void) { return fails() && errno != ENOSPC; }

/*
 * The same for a stream. SoftHSM2 writes an object's file again for each attribute, a dozen times. These count as one write:
 * either all of them fail or none, unless BKV_IO_EACH is set. The caller holds the lock.
 */
static int stream_fails(int file) {
  static struct { ino_t inode; uint64_t number; } recent[16];
  static unsigned next;
  struct stat about;
  if (getenv("BKV_IO_EACH") || fstat(file, &about)) return fails();
  uint64_t now = __atomic_load_n(&plan->count, __ATOMIC_SEQ_CST);
  for (int i = 0; i < 16; i++)
    if (recent[i].inode == about.st_ino && recent[i].number <= now && now - recent[i].number < 16) return is_planned(recent[i].number);
  recent[next].inode = about.st_ino;
  recent[next].number = __atomic_add_fetch(&plan->count, 1, __ATOMIC_SEQ_CST);
  uint64_t number = recent[next].number;
  next = (next + 1) % 16;
  return is_planned(number);
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *bytes, size_t length) {
  REAL(write);
  return is_file_below(file) && fails() ? -1 : real(file, bytes, length);
}
ssize_t pwrite(int file, const void *bytes, size_t length, off_t at) {
  REAL(pwrite);
  return is_file_below(file) && fails() ? -1 : real(file, bytes, length, at);
}
ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t at) {
  REAL(pwrite64);
  return is_file_below(file) && fails() ? -1 : real(file, bytes, length, at);
}
ssize_t writev(int file, const struct iovec *parts, int count) {
  REAL(writev);
  return is_file_below(file) && fails() ? -1 : real(file, parts, count);
}
ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) {
  REAL(pwritev);
  return is_file_below(file) && fails() ? -1 : real(file, parts, count, at);
}
int fsync(int file) {
  REAL(fsync);
  if (!is_file_below(file)) return real(file);
  int failed = fails(), error = errno;
  note(file, failed ? '-' : '+');
  errno = error;
  return failed ? -1 : real(file);
}
int fdatasync(int file) {
  REAL(fdatasync);
  return is_file_below(file) && fails() ? -1 : real(file);
}
/* Only SQLite calls ftruncate64(). SoftHSM2 empties a file by ftruncate(), which needs no room and is left alone. */
int ftruncate64(int file, off64_t length) {
  REAL(ftruncate64);
  return is_file_below(file) && fails() ? -1 : real(file, length);
}
int mkdir(const char *path, mode_t mode) {
  REAL(mkdir);
  return is_below(path) && fails() ? -1 : real(path, mode);
}
int link(const char *from, const char *to) {
  REAL(link);
  return is_below(to) && breaks() ? -1 : real(from, to);
}
/* Whether open() would make a new file. */
static int makes(const char *path, int flags) { return flags & O_CREAT && is_below(path) && access(path, F_OK); }
int open(const char *path, int flags, ...) {
  REAL(open);
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return makes(path, flags) && breaks() ? -1 : real(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  REAL(open64);
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return makes(path, flags) && breaks() ? -1 : real(path, flags, mode);
}
int rename(const char *from, const char *to) {
  REAL(rename);
  return is_below(to) && breaks() ? -1 : real(from, to);
}
int unlink(const char *path) {
  REAL(unlink);
  return is_below(path) && breaks() ? -1 : real(path);
}
int remove(const char *path) {
  REAL(remove);
  return is_below(path) && breaks() ? -1 : real(path);
}

/*
 * SoftHSM2 writes through glibc's streams, which do not call write() above. So streams are buffered here, in 4,096 bytes as in
 * glibc. An error in the last bytes is returned by fclose(), whose result SoftHSM2 does not check.
 */
#define BUFFER 4096
static struct { char bytes[BUFFER]; size_t length; off_t at; } streams[1024];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int is_stream_below(FILE *stream) {
  int file = fileno(stream);
  return file > 2 && file < 1024 && is_file_below(file);
}

static int flush(FILE *stream) {
  int file = fileno(stream);
  size_t length = streams[file].length;
  streams[file].length = 0;
  if (length == 0) return 0;
  static __typeof__(&pwrite) real;
  if (!real) real = (__typeof__(&pwrite))dlsym(RTLD_NEXT, "pwrite");
  int failed = stream_fails(file);
  int error = errno;
  /* When a disk fills up, a part may still fit. */
  if (failed) length = error == ENOSPC && plan->first % 2 ? length / 2 : 0;
  if (length && real(file, streams[file].bytes, length, streams[file].at) < 0) failed = 1;
  static __typeof__(&fseek) seek;
  if (!seek) seek = (__typeof__(&fseek))dlsym(RTLD_NEXT, "fseek");
  seek(stream, streams[file].at + (off_t)length, SEEK_SET);
  errno = error;
  return failed ? EOF : 0;
}

size_t fwrite(const void *bytes, size_t size, size_t count, FILE *stream) {
  REAL(fwrite);
  if (!is_stream_below(stream)) return real(bytes, size, count, stream);
  int file = fileno(stream);
  const char *from = bytes;
  pthread_mutex_lock(&lock);
  for (size_t left = size * count; left > 0;) {
    if (streams[file].length == 0) streams[file].at = ftell(stream);
    size_t room = BUFFER - streams[file].length, part = left < room ? left : room;
    memcpy(streams[file].bytes + streams[file].length, from, part);
    streams[file].length += part;
    from += part;
    left -= part;
    if (streams[file].length == BUFFER && flush(stream)) {
      pthread_mutex_unlock(&lock);
      return 0;
    }
  }
  pthread_mutex_unlock(&lock);
  return count;
}
int fflush(FILE *stream) {
  REAL(fflush);
  return stream && is_stream_below(stream) && flush(stream) ? EOF : real(stream);
}
int fseek(FILE *stream, long at, int from) {
  REAL(fseek);
  return is_stream_below(stream) && flush(stream) ? -1 : real(stream, at, from);
}
int fclose(FILE *stream) {
  REAL(fclose);
  int failed = is_stream_below(stream) ? flush(stream) : 0;
  return real(stream) || failed ? EOF : 0;
}
