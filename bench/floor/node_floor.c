// node_floor.c - the floor of one node: clone3 into new namespaces, overlay over ROOT, pivot_root, /proc and /dev, exec, wait.
// build: cc -O2 -o node_floor node_floor.c     usage: node_floor ROOT N PROGRAM     prints N lines, milliseconds each
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct clone_args_min {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void die(const char *what) {
    perror(what);
    _exit(99);
}

static void child(const char *root, const char *work, char *program) {
    char options[512];
    if (mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) || mount("t", work, "tmpfs", 0, "size=16m") || chdir(work)) die("tmpfs");
    mkdir("u", 0755), mkdir("w", 0755), mkdir("m", 0755);
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=u,workdir=w", root);
    if (mount("o", "m", "overlay", 0, options) || chdir("m")) die("overlay");
    if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH)) die("pivot_root");
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, 0)) die("proc");
    if (mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=755")) die("dev");
    mknod("/dev/null", S_IFCHR | 0666, 1 << 8 | 3), mknod("/dev/zero", S_IFCHR | 0666, 1 << 8 | 5);
    char *argv[] = {program, 0}, *env[] = {"PATH=/bin", 0};
    execve(program, argv, env);
    die("exec");
}

int main(int argc, char **argv) {
    if (argc != 4) return fprintf(stderr, "usage: node_floor ROOT N PROGRAM\n"), 2;
    char work[] = "/tmp/node-floor-XXXXXX";
    if (!mkdtemp(work)) die("mkdtemp");
    int n = atoi(argv[2]);
    for (int i = 0; i < n; i++) {
        double start = now();
        int pidfd = -1;
        struct clone_args_min args = {
            .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_PIDFD,
            .pidfd = (uintptr_t)&pidfd,
            .exit_signal = SIGCHLD,
        };
        pid_t pid = syscall(SYS_clone3, &args, sizeof args);
        if (pid < 0) die("clone3");
        if (!pid) child(argv[1], work, argv[3]);
        siginfo_t info;
        if (waitid(P_PIDFD, pidfd, &info, WEXITED) || info.si_status) die("child");
        close(pidfd);
        printf("%.3f\n", now() - start);
    }
    rmdir(work);
    return 0;
}
