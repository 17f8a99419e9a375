/* Preloaded by test/source.test.ts. Syncing a folder fails with errno BKV_SYNC_ERROR, as on CIFS and some FUSE file systems. */
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
