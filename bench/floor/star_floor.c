// star_floor.c - the floor of a star of N nodes: the netlink messages and process starts that it takes, and nothing else.
// build: cc -O2 -o star_floor star_floor.c     usage: star_floor N REPEAT     prints "up down" a line, milliseconds
//
// A node is: a holder process in a network namespace of its own (what a monitor is), a veth whose peer is born in that
// namespace and whose other end is a port of the bridge, lo and eth1 up with one IPv4 address, and a first process in
// new mount, pid, ipc and uts namespaces on an overlay of the machine's root with /proc and /dev.
// Down is: kill all, delete the bridge, wait until every process and every interface is gone.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct clone_args_min {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};
static char buf[1 << 16], work[] = "/tmp/star-floor-XXXXXX";
static size_t len;
static struct nlmsghdr *head;
static uint32_t seq, one = 1;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static int failing = -1;

static void die(const char *what) {
    perror(what);
    if (failing >= 0 && write(failing, "", 1) != 1) _exit(98);
    _exit(99);
}

static int netlink(void) {
    int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    struct sockaddr_nl a = {.nl_family = AF_NETLINK};
    if (s < 0 || bind(s, (void *)&a, sizeof a)) die("netlink");
    return s;
}

static void message(int type, int flags, const void *body, int size) {
    head = (void *)(buf + len);
    memset(head, 0, NLMSG_SPACE(size));
    head->nlmsg_len = NLMSG_LENGTH(size), head->nlmsg_type = type, head->nlmsg_flags = NLM_F_REQUEST | flags;
    head->nlmsg_seq = ++seq;
    memcpy(NLMSG_DATA(head), body, size);
}

static struct rtattr *attribute(int type, const void *data, int size) {
    struct rtattr *a = (void *)((char *)head + NLMSG_ALIGN(head->nlmsg_len));
    a->rta_type = type, a->rta_len = RTA_LENGTH(size);
    if (size) memcpy(RTA_DATA(a), data, size);
    head->nlmsg_len = NLMSG_ALIGN(head->nlmsg_len) + RTA_SPACE(size);
    return a;
}

static void end(struct rtattr *a) { a->rta_len = (char *)head + NLMSG_ALIGN(head->nlmsg_len) - (char *)a; }
static void done(void) { len += NLMSG_ALIGN(head->nlmsg_len); }

static void flush(int s, const char *what) {
    char answer[8192];
    head->nlmsg_flags |= NLM_F_ACK;
    if (send(s, buf, len, 0) < 0) die(what);
    len = 0;
    for (;;) {
        int n = recv(s, answer, sizeof answer, 0);
        if (n < 0) die(what);
        for (struct nlmsghdr *m = (void *)answer; NLMSG_OK(m, n); m = NLMSG_NEXT(m, n)) {
            struct nlmsgerr *e = NLMSG_DATA(m);
            if (m->nlmsg_type != NLMSG_ERROR) continue;
            if (e->error) errno = -e->error, die(what);
            if (m->nlmsg_seq == seq) return;
        }
    }
}

static pid_t start(uint64_t flags, int *pidfd) {
    struct clone_args_min a = {.flags = flags | CLONE_PIDFD, .pidfd = (uintptr_t)pidfd, .exit_signal = SIGCHLD};
    pid_t pid = syscall(SYS_clone3, &a, sizeof a);
    if (pid < 0) die("clone3");
    return pid;
}

// The first process of a node: what node_floor.c does, and then it sleeps. A byte in the pipe: it could not.
static void first(void) {
    char options[] = "lowerdir=/,upperdir=u,workdir=w";
    if (mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) || mount("t", work, "tmpfs", 0, "size=16m") || chdir(work)) die("tmpfs");
    mkdir("u", 0755), mkdir("w", 0755), mkdir("m", 0755);
    if (mount("o", "m", "overlay", 0, options) || chdir("m")) die("overlay");
    if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH)) die("pivot_root");
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, 0)) die("proc");
    if (mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=755")) die("dev");
    mknod("/dev/null", S_IFCHR | 0666, 1 << 8 | 3);
    execl("/bin/sleep", "sleep", "infinity", (char *)0);
    die("exec");
}

// The holder: makes the network inside, tells that it is ready, starts the first process when told, waits for it.
static void holder(int to, int from, int i) {
    char c = 0;
    if (write(to, &c, 1) != 1 || read(from, &c, 1) != 1) _exit(1); // namespace is there; the veth's end is in it
    int s = netlink();
    struct ifinfomsg lo = {.ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct ifinfomsg eth = {.ifi_index = if_nametoindex("eth1"), .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    message(RTM_NEWLINK, 0, &lo, sizeof lo), done();
    message(RTM_NEWLINK, 0, &eth, sizeof eth), done();
    struct ifaddrmsg a = {.ifa_family = AF_INET, .ifa_prefixlen = 16, .ifa_index = eth.ifi_index};
    uint32_t ip = htonl(0x0a630001 + i);
    message(RTM_NEWADDR, NLM_F_CREATE, &a, sizeof a), attribute(IFA_LOCAL, &ip, 4), attribute(IFA_ADDRESS, &ip, 4), done();
    flush(s, "inside");
    int pidfd, executes[2];
    if (pipe2(executes, O_CLOEXEC)) die("pipe");
    pid_t pid = start(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS, &pidfd);
    if (!pid) failing = executes[1], first();
    close(executes[1]);
    if (read(executes[0], &c, 1) != 0) _exit(1);
    if (write(to, &c, 1) != 1) _exit(1);
    if (read(from, &c, 1) > 0) _exit(1); // end of file: the lab goes down
    kill(pid, SIGKILL);
    waitpid(pid, 0, 0);
    _exit(0);
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 100, repeat = argc > 2 ? atoi(argv[2]) : 3, s = netlink();
    int to[n], from[n], pidfd;
    pid_t pids[n];
    char c = 0, name[16];
    signal(SIGPIPE, SIG_IGN);
    if (!mkdtemp(work)) die("mkdtemp");
    for (int r = 0; r < repeat; r++) {
        double t0 = now();
        struct ifinfomsg up = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
        message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &up, sizeof up), attribute(IFLA_IFNAME, "sfbr", 5);
        struct rtattr *info = attribute(IFLA_LINKINFO, 0, 0);
        attribute(IFLA_INFO_KIND, "bridge", 6), end(info), done(), flush(s, "bridge");
        int bridge = if_nametoindex("sfbr");
        for (int i = 0; i < n; i++) {
            int a[2], b[2];
            if (pipe2(a, O_CLOEXEC) || pipe2(b, O_CLOEXEC)) die("pipe");
            pids[i] = start(CLONE_NEWNET, &pidfd);
            if (!pids[i]) {
                for (int k = 0; k < i; k++) close(to[k]);
                close(a[0]), close(b[1]);
                holder(a[1], b[0], i);
            }
            close(pidfd), close(a[1]), close(b[0]);
            from[i] = a[0], to[i] = b[1];
        }
        for (int i = 0; i < n; i++) {
            if (read(from[i], &c, 1) != 1) die("holder");
            snprintf(name, sizeof name, "sf%d", i);
            uint32_t pid = pids[i];
            message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &up, sizeof up);
            attribute(IFLA_IFNAME, name, strlen(name) + 1), attribute(IFLA_MASTER, &bridge, 4);
            attribute(IFLA_NUM_TX_QUEUES, &one, 4), attribute(IFLA_NUM_RX_QUEUES, &one, 4);
            struct rtattr *link = attribute(IFLA_LINKINFO, 0, 0);
            attribute(IFLA_INFO_KIND, "veth", 4);
            struct rtattr *data = attribute(IFLA_INFO_DATA, 0, 0);
            struct rtattr *peer = attribute(VETH_INFO_PEER, &(struct ifinfomsg){0}, sizeof(struct ifinfomsg));
            attribute(IFLA_IFNAME, "eth1", 5), attribute(IFLA_NUM_TX_QUEUES, &one, 4), attribute(IFLA_NUM_RX_QUEUES, &one, 4), attribute(IFLA_NET_NS_PID, &pid, 4);
            end(peer), end(data), end(link), done();
            if (len > 30000 || i == n - 1) flush(s, "veth");
        }
        for (int i = 0; i < n; i++)
            if (write(to[i], &c, 1) != 1) die("holder");
        for (int i = 0; i < n; i++)
            if (read(from[i], &c, 1) != 1) die("first process");
        double t1 = now();
        for (int i = 0; i < n; i++) close(to[i]);
        struct ifinfomsg gone = {0};
        message(RTM_DELLINK, 0, &gone, sizeof gone), attribute(IFLA_IFNAME, "sfbr", 5), done(), flush(s, "delete");
        for (int i = 0; i < n; i++) waitpid(pids[i], 0, 0), close(from[i]);
        for (int i = 0; i < n; i++) {
            snprintf(name, sizeof name, "sf%d", i);
            while (if_nametoindex(name)) usleep(500);
        }
        printf("%.3f %.3f\n", t1 - t0, now() - t1), fflush(stdout);
    }
    rmdir(work);
    return 0;
}
