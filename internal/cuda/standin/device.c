//go:build ignore

// Devices, primary contexts, names of errors.
#include "state.h"

#include <stdio.h>
#include <string.h>

struct context contexts[MAX_DEVICES];
static __thread handle thread_context; // 0: none was set

int current_verdict(void) {
	if (thread_context == 0)
		return INVALID_CONTEXT;
	return object_peek(CONTEXT, thread_context) ? OK : CONTEXT_IS_DESTROYED;
}

struct context *current(void) { return thread_context ? object_peek(CONTEXT, thread_context) : NULL; }

STANDIN_API int cuDriverGetVersion(int *version) {
	STANDIN_BEGIN(cuDriverGetVersion, STANDIN_PLAIN);
	if (!version)
		STANDIN_END(INVALID_VALUE);
	*version = (int)set.driver;
	STANDIN_END(OK);
}

static const struct {
	int code;
	const char *name, *text;
} errors[] = {
	{0, "CUDA_SUCCESS", "no error"},
	{1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
	{2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
	{3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
	{4, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
	{34, "CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library"},
	{36, "CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER", "API call is not supported in the installed CUDA driver"},
	{46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
	{100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
	{101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
	{200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
	{201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
	{209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
	{214, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
	{218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
	{220, "CUDA_ERROR_NVLINK_UNCORRECTABLE", "uncorrectable NVLink error detected during the execution"},
	{221, "CUDA_ERROR_JIT_COMPILER_NOT_FOUND", "PTX JIT compiler library not found"},
	{222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
	{304, "CUDA_ERROR_OPERATING_SYSTEM", "OS call failed or operation not supported on this OS"},
	{400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
	{401, "CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state"},
	{500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
	{600, "CUDA_ERROR_NOT_READY", "device not ready"},
	{700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
	{701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
	{702, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
	{708, "CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE", "cannot set while device is active in this process"},
	{709, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
	{710, "CUDA_ERROR_ASSERT", "device-side assert triggered"},
	{714, "CUDA_ERROR_HARDWARE_STACK_ERROR", "hardware stack error"},
	{715, "CUDA_ERROR_ILLEGAL_INSTRUCTION", "an illegal instruction was encountered"},
	{716, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
	{717, "CUDA_ERROR_INVALID_ADDRESS_SPACE", "operation not supported on global/shared address space"},
	{718, "CUDA_ERROR_INVALID_PC", "invalid program counter"},
	{719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
	{800, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
	{801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
	{802, "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"},
	{803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
	{804, "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", "forward compatibility was attempted on non supported HW"},
	{900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
	{901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
	{902, "CUDA_ERROR_STREAM_CAPTURE_MERGE", "operation would result in a merge of separate capture sequences"},
	{903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not ended in the same stream as it began"},
	{904, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
	{905, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "dependency created on uncaptured work in another stream"},
	{906, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", "operation would make the legacy stream depend on a capturing blocking stream"},
	{907, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"},
	{908, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", "attempt to terminate a thread-local capture sequence from another thread"},
	{999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

static const char *error_find(int code, int text) {
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		if (errors[i].code == code)
			return text ? errors[i].text : errors[i].name;
	return NULL;
}

STANDIN_API int cuGetErrorName(int code, const char **name) {
	STANDIN_BEGIN(cuGetErrorName, STANDIN_PLAIN);
	if (!name)
		STANDIN_END(INVALID_VALUE);
	*name = error_find(code, 0);
	STANDIN_END(*name ? OK : INVALID_VALUE);
}

STANDIN_API int cuGetErrorString(int code, const char **text) {
	STANDIN_BEGIN(cuGetErrorString, STANDIN_PLAIN);
	if (!text)
		STANDIN_END(INVALID_VALUE);
	*text = error_find(code, 1);
	STANDIN_END(*text ? OK : INVALID_VALUE);
}

STANDIN_API int cuDeviceGetCount(int *count) {
	STANDIN_BEGIN(cuDeviceGetCount, STANDIN_INIT);
	if (!count)
		STANDIN_END(INVALID_VALUE);
	*count = (int)set.devices;
	STANDIN_END(OK);
}

// A CUdevice is not the ordinal here, so that a caller who mixes them up is found.
#define DEVICE_BASE 40

STANDIN_API int cuDeviceGet(int *device, int ordinal) {
	STANDIN_BEGIN(cuDeviceGet, STANDIN_INIT);
	if (!device)
		STANDIN_END(INVALID_VALUE);
	if (ordinal < 0 || ordinal >= set.devices)
		STANDIN_END(INVALID_DEVICE);
	*device = DEVICE_BASE + ordinal;
	STANDIN_END(OK);
}

static int ordinal_of(int device) {
	int i = device - DEVICE_BASE;
	if (i >= 0 && i < set.devices)
		return i;
	standin_violation("%d is no device that cuDeviceGet gave", device);
	return -1;
}

STANDIN_API int cuDeviceGetName(char *name, int length, int device) {
	STANDIN_BEGIN(cuDeviceGetName, STANDIN_INIT);
	int i = ordinal_of(device);
	if (!name || length <= 0)
		STANDIN_END(INVALID_VALUE);
	if (i < 0)
		STANDIN_END(INVALID_DEVICE);
	snprintf(name, length, "Stand-in GPU %d", i);
	STANDIN_END(OK);
}

STANDIN_API int cuDeviceTotalMem_v2(size_t *bytes, int device) {
	STANDIN_BEGIN(cuDeviceTotalMem_v2, STANDIN_INIT);
	int i = ordinal_of(device);
	if (!bytes)
		STANDIN_END(INVALID_VALUE);
	if (i < 0)
		STANDIN_END(INVALID_DEVICE);
	*bytes = (size_t)set.memory;
	STANDIN_END(OK);
}

STANDIN_API int cuDeviceGetAttribute(int *value, int attribute, int device) {
	STANDIN_BEGIN(cuDeviceGetAttribute, STANDIN_INIT);
	int i = ordinal_of(device);
	if (!value)
		STANDIN_END(INVALID_VALUE);
	if (i < 0)
		STANDIN_END(INVALID_DEVICE);
	switch (attribute) {
	case 1: *value = 1024; break;                     // threads in a block
	case 2: case 3: *value = 1024; break;             // block x, y
	case 4: *value = 64; break;                       // block z
	case 5: *value = 2147483647; break;               // grid x
	case 6: case 7: *value = 65535; break;            // grid y, z
	case 8: *value = (int)set.shared; break;          // shared memory of a block
	case 10: *value = 32; break;                      // threads in a warp
	case 12: *value = 65536; break;                   // registers of a block
	case 13: *value = 1410000; break;                 // clock in kHz
	case 16: *value = (int)set.multiprocessors; break;
	case 20: *value = set.exclusive ? 3 : 0; break;   // compute mode: exclusive to one process, or default
	case 36: *value = 1215000; break;                 // memory clock in kHz
	case 37: *value = 5120; break;                    // memory bus in bits
	case 38: *value = (int)set.l2; break;
	case 39: *value = 2048; break;                    // threads of a multiprocessor
	case 40: *value = 2; break;                       // copy engines
	case 41: *value = 1; break;                       // one address space
	case 75: *value = (int)set.major; break;
	case 76: *value = (int)set.minor; break;
	case 81: *value = (int)set.optin + 1024; break;   // shared memory of a multiprocessor
	case 82: *value = 65536; break;                   // registers of a multiprocessor
	case 95: *value = 1; break;                       // cooperative launch
	case 97: *value = (int)set.optin; break;          // shared memory that a function may ask for
	default:
		standin_violation("the stand-in knows no device attribute %d", attribute);
		STANDIN_END(INVALID_VALUE);
	}
	STANDIN_END(OK);
}

STANDIN_API int cuDevicePrimaryCtxRetain(handle *out, int device) {
	STANDIN_BEGIN(cuDevicePrimaryCtxRetain, STANDIN_INIT);
	int i = ordinal_of(device);
	if (!out)
		STANDIN_END(INVALID_VALUE);
	if (i < 0)
		STANDIN_END(INVALID_DEVICE);
	struct context *c = &contexts[i];
	if (!c->retained && set.exclusive && shared_others(i) > 0)
		STANDIN_END(DEVICE_UNAVAILABLE);
	if (!c->retained++) {
		c->device = i;
		c->sticky = 0;
		c->self = object_make(CONTEXT, c, -1, standin_current); // any thread may make it current
		shared_context(i, 1);
	}
	*out = c->self;
	STANDIN_END(OK);
}

STANDIN_API int cuDevicePrimaryCtxRelease_v2(int device) {
	STANDIN_BEGIN(cuDevicePrimaryCtxRelease_v2, STANDIN_INIT | STANDIN_RELEASES);
	int i = ordinal_of(device);
	if (i < 0)
		STANDIN_END(INVALID_DEVICE);
	if (!contexts[i].retained) {
		standin_violation("the primary context of device %d is not retained", i);
		STANDIN_END(INVALID_CONTEXT);
	}
	if (--contexts[i].retained == 0) {
		contexts[i].retained = 1; // destroy looks at living contexts
		context_destroy(&contexts[i], 1);
	}
	STANDIN_END(OK);
}

STANDIN_API int cuCtxSetCurrent(handle context) {
	STANDIN_BEGIN(cuCtxSetCurrent, STANDIN_INIT);
	if (context != 0 && !object_get(CONTEXT, context))
		STANDIN_END(INVALID_CONTEXT);
	thread_context = context;
	STANDIN_END(OK);
}

STANDIN_API int cuCtxGetCurrent(handle *context) {
	STANDIN_BEGIN(cuCtxGetCurrent, STANDIN_INIT);
	if (!context)
		STANDIN_END(INVALID_VALUE);
	*context = thread_context;
	STANDIN_END(OK);
}

STANDIN_API int cuCtxSynchronize(void) {
	STANDIN_BEGIN(cuCtxSynchronize, STANDIN_CONTEXT | STANDIN_UNSAFE);
	struct context *c = current();
	for (struct capture *p = captures; p; p = p->next)
		if (p->origin->context == c->device) {
			capture_invalidate(p);
			STANDIN_END(CAPTURE_UNSUPPORTED);
		}
	drain_context(c->device);
	STANDIN_END(c->sticky);
}
