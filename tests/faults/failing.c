/* Lets the n-th write, sync or other call that changes files below a folder fail, and notes all of them.
 *
 * Preloaded into a process that writes: FAULT_ROOT is the folder, FAULT_AT the number of the call that fails, 0 for
 * none, FAULT_ERRNO the error it fails with, and FAULT_TRACE the file that hears of every call, one a line:
 * its number, its name, whether it failed, the file, and after a tab the new name of one that is renamed. After
 * ENOSPC every call that needs room fails; after any other error the next call succeeds, as it would on a disk that
 * dropped the pages of the one before. An error of 0 is a power cut: the process ends there.
 *
 * Where FAULT_SYNCED names a folder, each file is copied there when it is synced, under the number of the call.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int count, is_full, trace = -1;

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

/* Copies a file that is about to be synced, through calls that are not watched. */
static void keep(const char *path, int number) {
    const char *folder = getenv("FAULT_SYNCED");
    struct stat found;
    if (folder == NULL || stat(path, &found) != 0 || !S_ISREG(found.st_mode)) return;
    char name[4096], data[65536];
    snprintf(name, sizeof name, "%s/%d", folder, number);
    int (*open_file)(const char *, int, ...) = next("open");
    ssize_t (*put)(int, const void *, size_t) = next("write");
    int from = open_file(path, O_RDONLY), to = open_file(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (ssize_t size; (size = read(from, data, sizeof data)) > 0;) put(to, data, size);
    close(from);
    close(to);
}

static int fails(const char *call, const char *path, const char *to, int needs_room) {
    const char *root = getenv("FAULT_ROOT");
    if (root == NULL || path == NULL || strncmp(path, root, strlen(root)) != 0) return 0;
    pthread_mutex_lock(&lock);
    if (trace < 0) {
        int (*open_file)(const char *, int, ...) = next("open");
        trace = open_file(getenv("FAULT_TRACE"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    }
    int error = atoi(getenv("FAULT_ERRNO")), failed = 0;
    count++;
    if (count == atoi(getenv("FAULT_AT"))) {
        if (error == 0) _exit(137);
        failed = 1;
        is_full = error == ENOSPC;
    } else if (is_full && needs_room) {
        failed = 1;
    }
    ssize_t (*put)(int, const void *, size_t) = next("write");
    char line[4096];
    int size = snprintf(line, sizeof line, "%d %s %d %s%s%s\n", count, call, failed, path + strlen(root),
                        to ? "\t" : "", to ? to + strlen(root) : "");
    if (!failed && strcmp(call, "sync") == 0) keep(path, count);
    put(trace, line, size);
    pthread_mutex_unlock(&lock);
    if (failed) errno = error;
    return failed;
}

static int fails_on(const char *call, int fd, int needs_room) {
    char name[64], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(name, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return fails(call, path, NULL, needs_room);
}

ssize_t write(int fd, const void *data, size_t size) {
    ssize_t (*real)(int, const void *, size_t) = next("write");
    return fails_on("write", fd, 1) ? -1 : real(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    ssize_t (*real)(int, const void *, size_t, off_t) = next("pwrite");
    return fails_on("write", fd, 1) ? -1 : real(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = next("pwrite64");
    return fails_on("write", fd, 1) ? -1 : real(fd, data, size, at);
}

int fsync(int fd) {
    int (*real)(int) = next("fsync");
    return fails_on("sync", fd, 0) ? -1 : real(fd);
}

int fdatasync(int fd) {
    int (*real)(int) = next("fdatasync");
    return fails_on("sync", fd, 0) ? -1 : real(fd);
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = next("rename");
    return fails("rename", from, to, 1) ? -1 : real(from, to);
}

int unlink(const char *path) {
    int (*real)(const char *) = next("unlink");
    return fails("unlink", path, NULL, 0) ? -1 : real(path);
}

/* Whole folders are removed so. */
int unlinkat(int folder, const char *path, int flags) {
    int (*real)(int, const char *, int) = next("unlinkat");
    char name[64], whole[8192];
    snprintf(name, sizeof name, "/proc/self/fd/%d", folder);
    ssize_t size = path[0] == '/' || folder == AT_FDCWD ? 0 : readlink(name, whole, 4095);
    if (size < 0) return real(folder, path, flags);
    snprintf(whole + size, sizeof whole - size, "%s%s", size ? "/" : "", path);
    return fails("unlink", whole, NULL, 0) ? -1 : real(folder, path, flags);
}

int mkdir(const char *path, mode_t mode) {
    int (*real)(const char *, mode_t) = next("mkdir");
    return access(path, F_OK) != 0 && fails("mkdir", path, NULL, 1) ? -1 : real(path, mode);
}

#define OPEN(name)                                                                \
    int name(const char *path, int flags, ...) {                                  \
        int (*real)(const char *, int, ...) = next(#name);                        \
        va_list rest;                                                             \
        va_start(rest, flags);                                                    \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                 \
        va_end(rest);                                                             \
        if (flags & O_CREAT && access(path, F_OK) != 0 && fails("create", path, NULL, 1)) return -1; \
        return real(path, flags, mode);                                           \
    }

OPEN(open)
OPEN(open64)
