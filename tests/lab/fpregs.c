/* For LD_PRELOAD with user-mode-linux 6.1 on processors with AMX.
 *
 * That kernel keeps 2,696 bytes of a process's extended registers, which is all there were before
 * AMX. ptrace(2) gives it the first part of a larger state, but takes back whole ones only: EFAULT,
 * and the guest's init dies. So put the part into a whole one. Guests never use AMX: a process has
 * to ask for it by arch_prctl(ARCH_REQ_XCOMP_PERM), which user-mode-linux lacks.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FEATURES = 512, AMX = 2, AMX_BITS = 6 }; /* bits 17 and 18 of the XSAVE header's first word */

static char whole[1 << 16];

static long put_part(pid_t pid, const struct iovec *part)
{
    struct iovec all = {whole, sizeof whole};
    if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &all) < 0)
        return -1;
    memcpy(whole, part->iov_base, part->iov_len);
    memset(whole + part->iov_len, 0, all.iov_len - part->iov_len);
    whole[FEATURES + AMX] &= ~AMX_BITS;
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &all);
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list words;
    va_start(words, request);
    pid_t pid = va_arg(words, pid_t);
    void *where = va_arg(words, void *);
    void *data = va_arg(words, void *);
    va_end(words);

    /* The system call stores what was peeked at; the library's function returns it. */
    long word = 0;
    int peeks = request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER;
    long done = syscall(SYS_ptrace, request, pid, where, peeks ? &word : data);
    if (done < 0 && errno == EFAULT && request == PTRACE_SETREGSET && (long)where == NT_X86_XSTATE)
        return put_part(pid, data);
    if (peeks && done >= 0) {
        errno = 0;
        return word;
    }
    return done;
}
