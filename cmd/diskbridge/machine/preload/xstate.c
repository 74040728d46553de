// User Mode Linux 6.1 saves and restores its processes' floating-point registers in a buffer of 2696 bytes, which is all that
// AVX-512 and protection keys need. On a processor with AMX the kernel below wants the whole area, 11008 bytes, and refuses
// less with EFAULT (xstateregs_set in arch/x86/kernel/fpu/regset.c), so that User Mode Linux panics: "ptrace set fp regs
// failed, errno = 14". This library, loaded before libc, fills up what is missing with what the process has already.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

// Bits of the header's xstate_bv, at byte 512, whose registers the short buffer has no room for.
#define BEYOND (~((UINT64_C(1) << 17) - 1))

// The stacks of User Mode Linux are small, and it has one thread.
static unsigned char whole[64 << 10];

long ptrace(enum __ptrace_request request, ...)
{
	static long (*next)(enum __ptrace_request, ...);
	struct iovec *given, full = {whole, sizeof whole};
	uint64_t theirs, ours;
	va_list list;
	va_start(list, request);
	pid_t pid = va_arg(list, pid_t);
	void *addr = va_arg(list, void *), *data = va_arg(list, void *);
	va_end(list);

	if (!next)
		next = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace");
	if (request != PTRACE_SETREGSET || (uintptr_t)addr != NT_X86_XSTATE)
		return next(request, pid, addr, data);
	given = data;
	if (next(PTRACE_GETREGSET, pid, addr, &full) != 0 || full.iov_len <= given->iov_len || given->iov_len < 520)
		return next(request, pid, addr, data);
	memcpy(&theirs, whole + 512, sizeof theirs);
	memcpy(whole, given->iov_base, given->iov_len);
	memcpy(&ours, whole + 512, sizeof ours);
	ours = (ours & ~BEYOND) | (theirs & BEYOND);
	memcpy(whole + 512, &ours, sizeof ours);
	return next(request, pid, addr, &full);
}
