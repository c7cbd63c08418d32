//go:build ignore

// Memory of the device and pinned memory of the host. Both lie in address ranges of their own, an allocation in pages
// of its own:
//
//	| red zone 256 bytes | the allocation | red zone to the end of the page, at least 256 bytes | page without access |
//
// The red zones are looked at when the memory is freed and when a test asks; what writes further, or to freed memory,
// meets pages without access. Addresses are not used again before the whole range is used up, so an old pointer does
// not hit new memory. Fresh memory holds 0xff: NaN as a float, -1 as an integer, so that what was never written shows.
#define _GNU_SOURCE
#include "state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096ull
#define RED 256ull
#define RED_BYTE 0xa7
#define FRESH_BYTE 0xff
#define FRESH_WHOLE (64ull << 20) // larger memory is filled at both ends only: it would all be committed

static struct arena {
	const char *name;
	uintptr_t base, end, next;
	struct allocation *all; // by address
	int count, room;
	long made;
	struct allocation freed[1024]; // ring, for the report
	long freed_count;
} device = {.name = "device"}, host = {.name = "pinned host"};

static void reserve(struct arena *a, size_t most) {
	if (a->base)
		return;
	for (size_t bytes = most; bytes >= 1ull << 30; bytes /= 2) {
		void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p != MAP_FAILED) {
			a->base = a->next = (uintptr_t)p;
			a->end = a->base + bytes;
			return;
		}
	}
}

// Between calls device memory cannot be touched (setting hide): a program that reads or writes it as if it were its own
// dies here as it would with a GPU.
static int hidden;

void memory_show(void) {
	for (int i = 0; hidden && i < device.count; i++)
		mprotect((void *)device.all[i].base, device.all[i].mapped, PROT_READ | PROT_WRITE);
	hidden = 0;
}

void memory_hide(void) {
	if (!set.hide || set.null || hidden || device.count == 0) // null: costs are measured
		return;
	struct allocation *end = &device.all[device.count - 1];
	mprotect((void *)device.all[0].base, end->base + end->mapped - device.all[0].base, PROT_NONE);
	hidden = 1;
}

static int inside(struct arena *a, uintptr_t p) { return a->base && p >= a->base && p < a->end; }
int in_device_arena(uintptr_t p) { return inside(&device, p); }
int in_host_arena(uintptr_t p) { return inside(&host, p); }

// place returns the first index whose allocation begins above p.
static int place(struct arena *a, uintptr_t p) {
	int low = 0, high = a->count;
	while (low < high) {
		int middle = (low + high) / 2;
		if (a->all[middle].at <= p)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct allocation *find(struct arena *a, uintptr_t p) {
	int i = place(a, p);
	if (i == 0)
		return NULL;
	struct allocation *m = &a->all[i - 1];
	return p <= m->at + m->bytes ? m : NULL;
}

struct allocation *device_find(uintptr_t p) { return find(&device, p); }
int host_pinned(uintptr_t p) {
	struct allocation *m = find(&host, p);
	return m && p < m->at + m->bytes;
}

static struct allocation *was_freed(struct arena *a, uintptr_t p) {
	for (long i = a->freed_count - 1; i >= 0 && i >= a->freed_count - 1024; i--) {
		struct allocation *m = &a->freed[i % 1024];
		if (p >= m->at && p < m->at + m->bytes)
			return m;
	}
	return NULL;
}

static void red(struct allocation *m, int fill, size_t *below, size_t *above) {
	unsigned char *p = (unsigned char *)m->base, *end = p + m->mapped;
	*below = *above = 0;
	if (fill) {
		memset(p, RED_BYTE, (unsigned char *)m->at - p);
		memset((unsigned char *)m->at + m->bytes, RED_BYTE, end - (unsigned char *)m->at - m->bytes);
		return;
	}
	for (; p < (unsigned char *)m->at; p++)
		*below += *p != RED_BYTE;
	for (p = (unsigned char *)m->at + m->bytes; p < end; p++)
		*above += *p != RED_BYTE;
}

static int check_red(struct arena *a, struct allocation *m) {
	size_t below, above;
	char n[32];
	red(m, 0, &below, &above);
	if (below + above == 0)
		return 1;
	format_bytes(n, m->bytes);
	if (above)
		standin_violation("somebody wrote %zu bytes past the end of %s memory #%ld of %s", above, a->name, m->serial, n);
	if (below)
		standin_violation("somebody wrote %zu bytes before the start of %s memory #%ld of %s", below, a->name, m->serial, n);
	red(m, 1, &below, &above); // say it once
	return 0;
}

static uintptr_t take(struct arena *a, size_t bytes, int context) {
	memory_show();
	reserve(a, a == &host ? 8ull << 30 : set.memory > 32ll << 30 ? 2 * (size_t)set.memory : 64ull << 30);
	size_t mapped = (RED + bytes + RED + PAGE - 1) & ~(PAGE - 1);
	if (a->next + mapped + PAGE > a->end) { // begin again at the first gap that is large enough
		uintptr_t at = a->base;
		for (int i = 0; i < a->count && a->all[i].base < at + mapped + PAGE; i++)
			at = a->all[i].base + a->all[i].mapped + PAGE;
		if (at + mapped + PAGE > a->end)
			return 0;
		a->next = at;
	}
	struct allocation m = {
		.at = a->next + RED, .bytes = bytes, .base = a->next, .mapped = mapped, .serial = a->made + 1, .context = context,
	};
	int i = place(a, m.at);
	if (i < a->count && a->all[i].base < m.base + mapped + PAGE) { // after beginning again: a living one is in the way
		a->next = a->all[i].base + a->all[i].mapped + PAGE;
		return take(a, bytes, context);
	}
	if (mprotect((void *)m.base, mapped, PROT_READ | PROT_WRITE) != 0)
		return 0;
	a->made++;
	a->next += mapped + PAGE;
	if (a->count == a->room) {
		a->room = a->room ? 2 * a->room : 64;
		a->all = realloc(a->all, sizeof *a->all * a->room);
	}
	memmove(&a->all[i + 1], &a->all[i], sizeof *a->all * (a->count - i));
	a->all[i] = m;
	a->count++;
	size_t whole = bytes <= FRESH_WHOLE ? bytes : 1 << 20, below, above;
	memset((void *)m.at, FRESH_BYTE, whole);
	memset((void *)(m.at + bytes - whole), FRESH_BYTE, whole);
	red(&m, 1, &below, &above);
	return m.at;
}

static void drop(struct arena *a, int i) {
	struct allocation *m = &a->all[i];
	memory_show();
	check_red(a, m);
	madvise((void *)m->base, m->mapped, MADV_DONTNEED);
	mprotect((void *)m->base, m->mapped, PROT_NONE);
	a->freed[a->freed_count++ % 1024] = *m;
	if (a == &device)
		shared_account(m->context, -(long long)m->bytes);
	memmove(m, m + 1, sizeof *m * (a->count - i - 1));
	a->count--;
}

// give frees the memory that begins at p, or says what p is instead.
static int give(struct arena *a, uintptr_t p) {
	char n[32];
	int i = place(a, p);
	if (i > 0 && a->all[i - 1].at == p) {
		struct context *c = current();
		if (c && a == &device && a->all[i - 1].context != c->device)
			standin_violation("memory of device %d is freed in the context of device %d", a->all[i - 1].context, c->device);
		drop(a, i - 1);
		return OK;
	}
	struct allocation *m = find(a, p);
	if (m) {
		format_bytes(n, m->bytes);
		standin_violation("%#lx lies %lu bytes inside %s memory #%ld of %s: only its start can be freed", (long)p, (long)(p - m->at), a->name, m->serial, n);
	} else if ((m = was_freed(a, p))) {
		format_bytes(n, m->bytes);
		standin_violation("%s memory #%ld of %s was freed before", a->name, m->serial, n);
	} else
		standin_violation("%#lx is no %s memory", (long)p, a->name);
	return INVALID_VALUE;
}

static int check(struct arena *a, uintptr_t p, size_t bytes, const char *what) {
	char n[32], range[32];
	format_bytes(range, bytes);
	struct allocation *m = find(a, p);
	if (m && bytes <= m->at + m->bytes - p)
		return 1;
	if (m) {
		format_bytes(n, m->bytes);
		standin_violation("%s: %s at offset %lu reach past the end of %s memory #%ld of %s", what, range, (long)(p - m->at), a->name, m->serial, n);
	} else if ((m = was_freed(a, p))) {
		format_bytes(n, m->bytes);
		standin_violation("%s: %s memory #%ld of %s is used after it was freed", what, a->name, m->serial, n);
	} else
		standin_violation("%s: %#lx is no %s memory", what, (long)p, a->name);
	return 0;
}

int check_device(uintptr_t p, size_t bytes, const char *what) {
	struct allocation *m = find(&device, p);
	struct context *c = current();
	if (m && c && m->context != c->device)
		standin_violation("%s: the memory belongs to device %d, the context to device %d", what, m->context, c->device);
	return check(&device, p, bytes, what);
}

int check_host(uintptr_t p, size_t bytes, const char *what) {
	if (in_host_arena(p))
		return check(&host, p, bytes, what);
	if (in_device_arena(p)) {
		standin_violation("%s: %#lx is device memory, not the host's", what, (long)p);
		return 0;
	}
	if (p < PAGE) {
		standin_violation("%s: the host address is NULL", what);
		return 0;
	}
	return 1;
}

int standin_check_range(const void *p, size_t bytes, const char *what) { return check_device((uintptr_t)p, bytes, what); }

int memory_check_red(void) {
	int whole = 1;
	memory_show();
	for (int i = 0; i < device.count; i++)
		whole &= check_red(&device, &device.all[i]);
	for (int i = 0; i < host.count; i++)
		whole &= check_red(&host, &host.all[i]);
	return whole;
}

static void leaked(struct arena *a, struct allocation *m) {
	char n[32];
	format_bytes(n, m->bytes);
	leak("%s memory #%ld of %s was not freed", a->name, m->serial, n);
}

void memory_drop(int context, int report) {
	struct arena *both[] = {&device, &host};
	for (int k = 0; k < 2; k++)
		for (int i = both[k]->count - 1; i >= 0; i--) {
			struct allocation *m = &both[k]->all[i];
			if (context >= 0 && m->context != context)
				continue;
			if (report)
				leaked(both[k], m);
			drop(both[k], i);
		}
}

void memory_each_leak(void) {
	for (int i = 0; i < device.count; i++)
		leaked(&device, &device.all[i]);
	for (int i = 0; i < host.count; i++)
		leaked(&host, &host.all[i]);
}

// memory_forget gives the address ranges back when nothing lies in them: a process may use many stand-ins.
void memory_forget(void) {
	struct arena *both[] = {&device, &host};
	for (int k = 0; k < 2; k++)
		if (both[k]->base && both[k]->count == 0) {
			munmap((void *)both[k]->base, both[k]->end - both[k]->base);
			both[k]->base = both[k]->end = both[k]->next = 0;
			both[k]->freed_count = 0;
		}
}

STANDIN_API int cuMemGetInfo_v2(size_t *free, size_t *total) {
	STANDIN_BEGIN(cuMemGetInfo_v2, STANDIN_CONTEXT);
	if (!free || !total)
		STANDIN_END(INVALID_VALUE);
	long long used = shared_used(current()->device);
	*total = (size_t)set.memory;
	*free = used < set.memory ? (size_t)(set.memory - used) : 0;
	STANDIN_END(OK);
}

STANDIN_API int cuMemAlloc_v2(uint64_t *p, size_t bytes) {
	STANDIN_BEGIN(cuMemAlloc_v2, STANDIN_CONTEXT | STANDIN_UNSAFE);
	int context = current()->device;
	if (!p || bytes == 0) {
		standin_violation(p ? "asks for 0 bytes" : "the place for the address is NULL");
		STANDIN_END(INVALID_VALUE);
	}
	if (bytes > (size_t)set.memory || shared_used(context) + (long long)bytes > set.memory)
		STANDIN_END(OUT_OF_MEMORY);
	uintptr_t at = take(&device, bytes, context);
	if (at == 0)
		STANDIN_END(OUT_OF_MEMORY);
	shared_account(context, (long long)bytes);
	*p = at;
	STANDIN_END(OK);
}

// The real driver waits for all work before it frees; so does the stand-in.
STANDIN_API int cuMemFree_v2(uint64_t p) {
	STANDIN_BEGIN(cuMemFree_v2, STANDIN_CONTEXT | STANDIN_RELEASES | STANDIN_UNSAFE);
	if (p == 0)
		STANDIN_END(OK);
	drain_context(current()->device);
	STANDIN_END(give(&device, p));
}

static int host_take(void **p, size_t bytes) {
	if (!p || bytes == 0) {
		standin_violation(p ? "asks for 0 bytes" : "the place for the address is NULL");
		return INVALID_VALUE;
	}
	uintptr_t at = take(&host, bytes, current()->device);
	if (at == 0)
		return OUT_OF_MEMORY;
	*p = (void *)at;
	return OK;
}

STANDIN_API int cuMemHostAlloc(void **p, size_t bytes, unsigned flags) {
	STANDIN_BEGIN(cuMemHostAlloc, STANDIN_CONTEXT | STANDIN_UNSAFE);
	if (flags & ~7u)
		STANDIN_END(INVALID_VALUE);
	STANDIN_END(host_take(p, bytes));
}

STANDIN_API int cuMemAllocHost_v2(void **p, size_t bytes) {
	STANDIN_BEGIN(cuMemAllocHost_v2, STANDIN_CONTEXT | STANDIN_UNSAFE);
	STANDIN_END(host_take(p, bytes));
}

STANDIN_API int cuMemFreeHost(void *p) {
	STANDIN_BEGIN(cuMemFreeHost, STANDIN_CONTEXT | STANDIN_RELEASES | STANDIN_UNSAFE);
	drain_context(current()->device);
	STANDIN_END(give(&host, (uintptr_t)p));
}

static void copy(struct work *w, uintptr_t dst, const char *dst_what, int dst_device, uintptr_t src, const char *src_what, int src_device, size_t bytes) {
	w->dst = dst;
	w->src = src;
	w->bytes = bytes;
	if (dst_device || in_host_arena(dst))
		w->ranges[w->range_count++] = (struct standin_range){(void *)dst, bytes, dst_what};
	if (src_device || in_host_arena(src))
		w->ranges[w->range_count++] = (struct standin_range){(void *)src, bytes, src_what};
}

// From pageable memory most drivers first copy the bytes to a buffer of their own and may return then: so does the
// stand-in. From pinned memory it reads when the stream gets there, and on some systems from pageable memory too (ats).
STANDIN_API int cuMemcpyHtoDAsync_v2(uint64_t dst, const void *src, size_t bytes, handle stream) {
	STANDIN_BEGIN(cuMemcpyHtoDAsync_v2, STANDIN_CONTEXT);
	struct stream *s = stream_get(stream);
	if (!s)
		STANDIN_END(INVALID_HANDLE);
	if (bytes == 0)
		STANDIN_END(OK);
	if (!check_device(dst, bytes, "destination") | !check_host((uintptr_t)src, bytes, "source"))
		STANDIN_END(INVALID_VALUE);
	struct work *w = work_new(COPY, standin_current);
	copy(w, dst, "destination", 1, (uintptr_t)src, "source", 0, bytes);
	if (!in_host_arena((uintptr_t)src)) {
		if (s->capture)
			standin_violation("a graph would read pageable memory of the host at each replay");
		if (!set.ats) {
			w->staged = malloc(bytes);
			memcpy(w->staged, src, bytes);
			w->src = (uintptr_t)w->staged;
		}
	}
	STANDIN_END(stream_put(s, w));
}

// To pageable memory most drivers return only when the bytes are there.
STANDIN_API int cuMemcpyDtoHAsync_v2(void *dst, uint64_t src, size_t bytes, handle stream) {
	STANDIN_BEGIN(cuMemcpyDtoHAsync_v2, STANDIN_CONTEXT);
	struct stream *s = stream_get(stream);
	if (!s)
		STANDIN_END(INVALID_HANDLE);
	if (bytes == 0)
		STANDIN_END(OK);
	if (!check_host((uintptr_t)dst, bytes, "destination") | !check_device(src, bytes, "source"))
		STANDIN_END(INVALID_VALUE);
	int pageable = !in_host_arena((uintptr_t)dst);
	if (pageable && s->capture)
		standin_violation("a graph would write to pageable memory of the host at each replay");
	struct work *w = work_new(COPY, standin_current);
	copy(w, (uintptr_t)dst, "destination", 0, src, "source", 1, bytes);
	int code = stream_put(s, w);
	if (pageable && !s->capture && !set.ats) {
		stream_drain(s);
		code = code ? code : current()->sticky;
	}
	STANDIN_END(code);
}

STANDIN_API int cuMemcpyDtoDAsync_v2(uint64_t dst, uint64_t src, size_t bytes, handle stream) {
	STANDIN_BEGIN(cuMemcpyDtoDAsync_v2, STANDIN_CONTEXT);
	struct stream *s = stream_get(stream);
	if (!s)
		STANDIN_END(INVALID_HANDLE);
	if (bytes == 0)
		STANDIN_END(OK);
	if (!check_device(dst, bytes, "destination") | !check_device(src, bytes, "source"))
		STANDIN_END(INVALID_VALUE);
	if (dst < src + bytes && src < dst + bytes && dst != src)
		standin_violation("source and destination overlap, and a copy on the device says nothing of its order");
	struct work *w = work_new(COPY, standin_current);
	copy(w, dst, "destination", 1, src, "source", 1, bytes);
	STANDIN_END(stream_put(s, w));
}

static int fill(uint64_t dst, unsigned value, unsigned width, size_t count, handle stream) {
	struct stream *s = stream_get(stream);
	if (!s)
		return INVALID_HANDLE;
	if (count == 0)
		return OK;
	if (!check_device(dst, count * width, "destination"))
		return INVALID_VALUE;
	if (dst % width != 0) {
		standin_violation("the address %#llx is no multiple of %u", (unsigned long long)dst, width);
		return INVALID_VALUE;
	}
	struct work *w = work_new(FILL, standin_current);
	w->dst = dst;
	w->bytes = count * width;
	w->value = value;
	w->width = width;
	w->ranges[w->range_count++] = (struct standin_range){(void *)(uintptr_t)dst, w->bytes, "destination"};
	return stream_put(s, w);
}

STANDIN_API int cuMemsetD8Async(uint64_t dst, unsigned char value, size_t count, handle stream) {
	STANDIN_BEGIN(cuMemsetD8Async, STANDIN_CONTEXT);
	STANDIN_END(fill(dst, value, 1, count, stream));
}

STANDIN_API int cuMemsetD32Async(uint64_t dst, unsigned value, size_t count, handle stream) {
	STANDIN_BEGIN(cuMemsetD32Async, STANDIN_CONTEXT);
	STANDIN_END(fill(dst, value, 4, count, stream));
}
