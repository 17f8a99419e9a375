/* Preloaded by test/source.test.ts: folders cannot be synced, as on CIFS and some FUSE file systems. BKV_SYNC_ERROR is the errno. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

static int fails(int file) {
  struct stat info;
  const char *error = getenv("BKV_SYNC_ERROR");
  if (!error || fstat(file, &info) || !S_ISDIR(info.st_mode)) return 0;
  errno = atoi(error);
  return 1;
}

#define REAL(name) static int (*real)(int); if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name)

int fsync(int file) {
  REAL(fsync);
  return fails(file) ? -1 : real(file);
}
int fdatasync(int file) {
  REAL(fdatasync);
  return fails(file) ? -1 : real(file);
}
