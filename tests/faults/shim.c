/* LD_PRELOAD: after fault("write", "checkpoints", EIO, 3) the third and every later call of that kind
   on files whose path contains that text fails with that number, as on a disk that breaks. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char wanted[16], part[4096];
static int number, after, calls;

/* Returns how many calls have failed since the fault before was set. "" lets all pass. */
int fault(const char *call, const char *path, int error, int from) {
  int failed = calls >= after && *wanted ? calls - after + 1 : 0;
  *wanted = 0;
  snprintf(part, sizeof part, "%s", path);
  number = error, after = from, calls = 0;
  snprintf(wanted, sizeof wanted, "%s", call);
  return failed;
}

static int fails(const char *kind, const char *path) {
  if (!*wanted || !path || strcmp(kind, wanted) || !strstr(path, part)) return 0;
  if (__sync_add_and_fetch(&calls, 1) < after) return 0;
  errno = number;
  return 1;
}

static int file_fails(const char *kind, int file) {
  if (file < 3 || !*wanted) return 0;
  int before = errno;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  errno = before;
  if (length < 0) return 0;
  path[length] = 0;
  return fails(kind, path);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int f, const void *b, size_t n) {
  return file_fails("write", f) ? -1 : NEXT(write)(f, b, n);
}
ssize_t writev(int f, const struct iovec *b, int n) {
  return file_fails("write", f) ? -1 : NEXT(writev)(f, b, n);
}
ssize_t pwrite(int f, const void *b, size_t n, off_t o) {
  return file_fails("write", f) ? -1 : NEXT(pwrite)(f, b, n, o);
}
ssize_t pwrite64(int f, const void *b, size_t n, off64_t o) {
  return file_fails("write", f) ? -1 : NEXT(pwrite64)(f, b, n, o);
}
ssize_t read(int f, void *b, size_t n) {
  return file_fails("read", f) ? -1 : NEXT(read)(f, b, n);
}
ssize_t pread(int f, void *b, size_t n, off_t o) {
  return file_fails("read", f) ? -1 : NEXT(pread)(f, b, n, o);
}
ssize_t pread64(int f, void *b, size_t n, off64_t o) {
  return file_fails("read", f) ? -1 : NEXT(pread64)(f, b, n, o);
}
int fsync(int f) { return file_fails("sync", f) ? -1 : NEXT(fsync)(f); }
int fdatasync(int f) { return file_fails("sync", f) ? -1 : NEXT(fdatasync)(f); }
int rename(const char *a, const char *b) {
  return fails("rename", b) ? -1 : NEXT(rename)(a, b);
}
int mkdir(const char *p, mode_t m) { return fails("create", p) ? -1 : NEXT(mkdir)(p, m); }

#define OPEN(name)                                                       \
  int name(const char *p, int flags, ...) {                              \
    va_list rest;                                                        \
    va_start(rest, flags);                                               \
    mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
    va_end(rest);                                                        \
    if ((flags & (O_WRONLY | O_RDWR)) && fails("create", p)) return -1;  \
    return NEXT(name)(p, flags, mode);                                   \
  }
OPEN(open)
OPEN(open64)
