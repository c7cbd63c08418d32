//go:build ignore

// Launches. The arguments are copied when a kernel is launched, as the real driver does, and the kernel runs on the CPU
// when its stream gets there: first choice is libshim.so beside this library, which holds the kernels of this project
// compiled for the CPU; then the few kernels below, which the tests of the driver layer launch. A kernel that neither
// has is checked and counted only, unless there is a libshim.so, which then should have it.
#define _GNU_SOURCE
#include "state.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
	long count;
	char name[256];
	unsigned grid[3], block[3], shared;
	uint64_t stream, block_at; // block_at: where the caller's list of arguments lies
	int parameters;
	unsigned sizes[256], bytes;
	unsigned char blob[4096];
} last;

static int (*shim_launch)(const char *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void **);
static int (*shim_has)(const char *);

static void find_shim(void) {
	static int looked;
	if (looked)
		return;
	char path[4200];
	snprintf(path, sizeof path, "%s/libshim.so", library_folder());
	if (access(path, F_OK) != 0)
		return; // it may still come
	looked = 1;
	void *shim = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!shim) {
		standin_violation("libshim.so cannot be loaded: %s", dlerror());
		return;
	}
	shim_launch = (int (*)(const char *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void **))dlsym(shim, "shim_launch");
	shim_has = (int (*)(const char *))dlsym(shim, "shim_has");
}

// builtin runs the kernels of the tests of the driver layer; their PTX is in ptx.go. -1: there is none of that name.
static int builtin(struct work *w, void **p) {
	const char *name = w->function->name;
#define ARG(i, type) (*(type *)p[i])
	uint64_t threads = (uint64_t)w->grid[0] * w->block[0];
	if (strcmp(name, "standin_fill") == 0 || strcmp(name, "standin_overrun") == 0) {
		uint32_t *dst = ARG(0, uint32_t *), value = ARG(1, uint32_t), n = ARG(2, uint32_t);
		for (uint64_t i = 0; i < threads && i < n; i++)
			dst[i] = value;
		if (strcmp(name, "standin_overrun") == 0)
			dst[n] = value;
		return OK;
	}
	if (strcmp(name, "standin_copy") == 0 || strcmp(name, "standin_add") == 0) {
		uint32_t *dst = ARG(0, uint32_t *), *src = ARG(1, uint32_t *), n = ARG(2, uint32_t);
		for (uint64_t i = 0; i < threads && i < n; i++)
			dst[i] = (name[8] == 'a' ? dst[i] : 0) + src[i];
		return OK;
	}
	if (strcmp(name, "standin_types") == 0) { // dst gets each argument in 8 bytes
		uint64_t *dst = ARG(0, uint64_t *);
		for (int i = 1; i < w->function->parameters; i++) {
			uint64_t v = 0;
			memcpy(&v, p[i], w->function->sizes[i]);
			dst[i - 1] = v;
		}
		return OK;
	}
	if (strcmp(name, "standin_nothing") == 0 || strcmp(name, "standin_shared") == 0) // shared memory of its own is all it has
		return OK;
	if (strcmp(name, "standin_trap") == 0)
		return LAUNCH_FAILED;
	return -1;
}

int kernel_run(struct work *w) {
	struct function *f = w->function;
	if (f->unloaded) {
		standin_violation("kernel %s: its module was unloaded before", f->name);
		return LAUNCH_FAILED;
	}
	if (f->parameters < 0)
		return OK; // a cubin: nothing is known of its arguments
	void *p[257];
	for (int i = 0; i < f->parameters; i++)
		p[i] = (char *)w->staged + f->offsets[i];
	p[f->parameters] = NULL;
	int whole = 1;
	for (int i = 0; i < f->parameters; i++) // whatever looks like an address of the device must be a living one
		for (unsigned k = 0; k + 8 <= f->sizes[i]; k += 8) {
			uint64_t v;
			memcpy(&v, (char *)p[i] + k, 8);
			char what[400];
			snprintf(what, sizeof what, "kernel %s, argument %d", f->name, i);
			if (in_device_arena((uintptr_t)v) || in_host_arena((uintptr_t)v))
				whole &= in_host_arena((uintptr_t)v) ? check_host((uintptr_t)v, 0, what) : check_device((uintptr_t)v, 0, what);
		}
	if (!whole)
		return ILLEGAL_ADDRESS;
	find_shim();
	if (shim_launch && shim_has && shim_has(f->name)) {
		int code = shim_launch(f->name, w->grid[0], w->grid[1], w->grid[2], w->block[0], w->block[1], w->block[2], w->shared, p);
		if (code != 0) {
			standin_violation("kernel %s: the shim returned %d", f->name, code);
			return LAUNCH_FAILED;
		}
		return OK;
	}
	int code = builtin(w, p);
	if (code < 0 && shim_launch) {
		standin_violation("kernel %s is not in libshim.so, so nothing ran", f->name);
		return LAUNCH_FAILED;
	}
	return code < 0 ? OK : code;
}

static int check(struct function *f, const unsigned *grid, const unsigned *block, unsigned shared) {
	unsigned long long threads = (unsigned long long)block[0] * block[1] * block[2];
	if (!grid[0] || !grid[1] || !grid[2] || !block[0] || !block[1] || !block[2]) {
		standin_violation("kernel %s: the grid %ux%ux%u of blocks %ux%ux%u is empty", f->name, grid[0], grid[1], grid[2], block[0], block[1], block[2]);
		return INVALID_VALUE;
	}
	if (grid[0] > 2147483647u || grid[1] > 65535 || grid[2] > 65535 || block[0] > 1024 || block[1] > 1024 || block[2] > 64 || threads > 1024) {
		standin_violation("kernel %s: no device takes a grid %ux%ux%u of blocks %ux%ux%u", f->name, grid[0], grid[1], grid[2], block[0], block[1], block[2]);
		return INVALID_VALUE;
	}
	if (threads > f->max_threads) {
		standin_violation("kernel %s takes blocks of at most %u threads, not %llu", f->name, f->max_threads, threads);
		return LAUNCH_OUT_OF_RESOURCES;
	}
	if (f->required[0] && memcmp(f->required, block, sizeof f->required) != 0) {
		standin_violation("kernel %s takes blocks of %ux%ux%u only", f->name, f->required[0], f->required[1], f->required[2]);
		return INVALID_VALUE;
	}
	long long most = f->dynamic_shared ? f->dynamic_shared : set.shared - f->static_shared;
	if (shared > most) {
		standin_violation("kernel %s: %u bytes of dynamic shared memory, at most %lld are allowed now", f->name, shared, most);
		return INVALID_VALUE;
	}
	return OK;
}

// The kernels that were launched with their grids and blocks, each of them once.
static struct {
	char line[400][384];
	int count;
} launched;

static void note_launched(const char *name, const unsigned *grid, const unsigned *block) {
	char line[sizeof launched.line[0]];
	if (launched.count >= 400)
		return;
	snprintf(line, sizeof line, "%.255s %u %u %u %u %u %u", name, grid[0], grid[1], grid[2], block[0], block[1], block[2]);
	for (int i = 0; i < launched.count; i++)
		if (strcmp(launched.line[i], line) == 0)
			return;
	memcpy(launched.line[launched.count++], line, sizeof line);
}

STANDIN_API int cuLaunchKernel(handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
	unsigned shared, handle stream, void **parameters, void **extra) {
	if (set.null) { // the cost of the caller's side alone
		last.count++;
		return OK;
	}
	STANDIN_BEGIN(cuLaunchKernel, STANDIN_CONTEXT);
	struct function *f = object_get(FUNCTION, function);
	struct stream *s = stream_get(stream);
	if (!f || !s)
		STANDIN_END(INVALID_HANDLE);
	const unsigned grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
	int code = check(f, grid, block, shared);
	if (code != OK)
		STANDIN_END(code);
	if (extra) {
		standin_violation("kernel %s: the stand-in takes arguments as a list of pointers", f->name);
		STANDIN_END(NOT_SUPPORTED);
	}
	if (f->parameters > 0 && !parameters) {
		standin_violation("kernel %s: there are no arguments", f->name);
		STANDIN_END(INVALID_VALUE);
	}
	for (int i = 0; i < f->parameters; i++) {
		uintptr_t at = (uintptr_t)parameters[i];
		if (at < 4096) {
			standin_violation("kernel %s takes %d arguments, argument %d is not there", f->name, f->parameters, i);
			STANDIN_END(INVALID_VALUE);
		}
		if ((f->sizes[i] & (f->sizes[i] - 1)) == 0 && at % f->sizes[i] != 0)
			standin_violation("kernel %s: argument %d of %u bytes lies at an address that is no multiple of it", f->name, i, f->sizes[i]);
	}
	struct work *w = work_new(KERNEL, "cuLaunchKernel");
	w->function = f;
	f->references++;
	memcpy(w->grid, grid, sizeof grid);
	memcpy(w->block, block, sizeof block);
	w->shared = shared;
	if (f->parameters > 0) {
		w->staged = calloc(1, f->parameter_bytes + 8);
		for (int i = 0; i < f->parameters; i++)
			memcpy((char *)w->staged + f->offsets[i], parameters[i], f->sizes[i]);
	}
	last.count++;
	note_launched(f->name, grid, block);
	if (set.strict) {
		memcpy(last.name, f->name, sizeof last.name);
		memcpy(last.grid, grid, sizeof grid);
		memcpy(last.block, block, sizeof block);
		last.shared = shared;
		last.stream = stream;
		last.block_at = (uint64_t)(uintptr_t)parameters;
		last.parameters = f->parameters;
		last.bytes = 0;
		for (int i = 0; i < f->parameters && last.bytes + f->sizes[i] <= sizeof last.blob; i++) {
			last.sizes[i] = f->sizes[i];
			memcpy(last.blob + last.bytes, parameters[i], f->sizes[i]);
			last.bytes += f->sizes[i];
		}
	}
	STANDIN_END(stream_put(s, w));
}

// standin_launches returns how many kernels were launched since the library was loaded.
STANDIN_API long standin_launches(void) { return last.count; }

// standin_last describes the last launch: name, grid, block, shared, address of the argument list, then each argument
// in hexadecimal, its bytes in memory order.
STANDIN_API long standin_last(char *out, long room) {
	long at = snprintf(out, room, "%s %u %u %u %u %u %u %u %llu", last.name, last.grid[0], last.grid[1], last.grid[2], last.block[0], last.block[1], last.block[2], last.shared, (unsigned long long)last.block_at);
	unsigned o = 0;
	for (int i = 0; i < last.parameters; i++) {
		at += snprintf(out + at, at < room ? room - at : 0, " ");
		for (unsigned k = 0; k < last.sizes[i]; k++)
			at += snprintf(out + at, at < room ? room - at : 0, "%02x", last.blob[o++]);
	}
	return at;
}

// standin_launched writes and forgets the kernels that were launched since the last call: name, grid and block, a line for
// each that is different.
STANDIN_API long standin_launched(char *out, long room) {
	long at = 0;
	for (int i = 0; i < launched.count; i++)
		at += snprintf(out + at, at < room ? room - at : 0, "%s\n", launched.line[i]);
	if (at < room)
		launched.count = 0;
	return at;
}
