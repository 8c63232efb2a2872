/* Stand-in for the hypervisor: enough for the C xenstored of Xen 4.17 to start with a master domain and serve its
 * Unix socket. Preloaded; compiled by the tests that use it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
static int dummy;
void *xc_interface_open(void *a, void *b, unsigned f) { return &dummy; }
int xc_interface_close(void *h) { return 0; }
void *xengnttab_open(void *l, unsigned f) { return &dummy; }
int xengnttab_close(void *h) { return 0; }
int xengnttab_set_max_grants(void *h, unsigned n) { return 0; }
void *xengnttab_map_grant_ref(void *h, unsigned d, unsigned r, int prot)
{ return mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }
int xengnttab_unmap(void *h, void *p, unsigned n) { return munmap(p, 4096 * n); }
static int evfd = -1;
void *xenevtchn_open(void *l, unsigned f) { evfd = eventfd(0, EFD_NONBLOCK); return &dummy; }
void *xenevtchn_fdopen(void *l, int fd, unsigned f) { evfd = fd; return &dummy; }
int xenevtchn_close(void *h) { return 0; }
int xenevtchn_fd(void *h) { return evfd; }
int xenevtchn_bind_virq(void *h, unsigned v) { return 1; }
int xenevtchn_bind_interdomain(void *h, unsigned d, unsigned p) { static int n = 10; return n++; }
int xenevtchn_unbind(void *h, unsigned p) { return 0; }
int xenevtchn_notify(void *h, unsigned p) { return 0; }
int xenevtchn_pending(void *h) { return -1; }
int xenevtchn_unmask(void *h, unsigned p) { return 0; }
static const char *map(const char *p)
{
  const char *d = getenv("NOXEN_DIR");
  static char b[256];
  if (!strcmp(p, "/proc/xen/xsd_port") || !strcmp(p, "/proc/xen/xsd_kva")) {
    snprintf(b, sizeof b, "%s/%s", d ? d : ".", strrchr(p, '/') + 1);
    return b;
  }
  return p;
}
int open(const char *p, int fl, ...)
{
  static int (*real)(const char *, int, ...);
  va_list ap; va_start(ap, fl); int mode = (fl & O_CREAT) ? va_arg(ap, int) : 0; va_end(ap);
  if (!real) real = dlsym(RTLD_NEXT, "open");
  return real(map(p), fl, mode);
}
int open64(const char *p, int fl, ...)
{
  va_list ap; va_start(ap, fl); int mode = (fl & O_CREAT) ? va_arg(ap, int) : 0; va_end(ap);
  return open(p, fl, mode);
}
