package cuda

import "fmt"

// meaning is what we know of a code without a driver: its name, what it says, and what a person can do.
type meaning struct {
	name, text, hint string
	kind             error // sentinel; after one of ErrDeviceLost the context cannot be used any more
}

// What to do about codes that several share.
const (
	fault   = "a kernel made this fault; every later use of the device fails the same way, so start the program again"
	ours    = "this is an error in the program; please report it with this message"
	capture = "between the begin and the end of a capture only copies, fills, launches and events on its streams are allowed"
	install = "install the NVIDIA driver again; a part of it is missing or of another version"
	mps     = "look at the log of the MPS server, or stop it (echo quit | nvidia-cuda-mps-control)"
)

// meanings are the codes of CUresult: all of cuda.h of CUDA 13.2, those of 12.8 among them. The texts are short for
// what the header or the driver says. Many codes belong to calls that are not made here (peers, textures, shared
// graphics, profilers, clusters), so that to get one of them is an error in the program.
var meanings = map[int]meaning{
	1:   {"CUDA_ERROR_INVALID_VALUE", "invalid argument", ours, nil},
	2:   {"CUDA_ERROR_OUT_OF_MEMORY", "out of memory", "use smaller batches or a shorter context, or end other programs on this GPU (nvidia-smi lists them)", ErrOutOfMemory},
	3:   {"CUDA_ERROR_NOT_INITIALIZED", "initialization error", ours, nil},
	4:   {"CUDA_ERROR_DEINITIALIZED", "driver shutting down", "the process is ending", ErrDeviceLost},
	5:   {"CUDA_ERROR_PROFILER_DISABLED", "profiler disabled while using an external profiling tool", ours, nil},
	6:   {"CUDA_ERROR_PROFILER_NOT_INITIALIZED", "profiler not initialized", ours, nil},
	7:   {"CUDA_ERROR_PROFILER_ALREADY_STARTED", "profiler already started", ours, nil},
	8:   {"CUDA_ERROR_PROFILER_ALREADY_STOPPED", "profiler already stopped", ours, nil},
	34:  {"CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library", "the library found is the linker's stand-in of the toolkit (a folder named stubs); take that folder out of LD_LIBRARY_PATH and install the NVIDIA driver", ErrNoDriver},
	36:  {"CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER", "API call requires a newer driver", "install a newer NVIDIA driver", ErrDriverTooOld},
	46:  {"CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable", "another process holds the GPU in exclusive mode; end it (nvidia-smi lists it) or run nvidia-smi -c 0", nil},
	100: {"CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected", "the driver is there but sees no GPU; look at nvidia-smi, at CUDA_VISIBLE_DEVICES, and in a container at --gpus", ErrNoDevice},
	101: {"CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal", "devices are counted from 0; secencoder info lists them", ErrNoDevice},
	102: {"CUDA_ERROR_DEVICE_NOT_LICENSED", "device doesn't have valid Grid license", "the virtual GPU needs a licence; ask who runs the machine", nil},
	200: {"CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid", "the kernels are corrupt; build the program again", ErrBadModule},
	201: {"CUDA_ERROR_INVALID_CONTEXT", "invalid device context", ours, nil},
	202: {"CUDA_ERROR_CONTEXT_ALREADY_CURRENT", "context already current", ours, nil},
	205: {"CUDA_ERROR_MAP_FAILED", "mapping of buffer object failed", ours, nil},
	206: {"CUDA_ERROR_UNMAP_FAILED", "unmapping of buffer object failed", ours, nil},
	207: {"CUDA_ERROR_ARRAY_IS_MAPPED", "array is mapped", ours, nil},
	208: {"CUDA_ERROR_ALREADY_MAPPED", "resource already mapped", ours, nil},
	209: {"CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device", "the kernels need a GPU of compute capability 8.0 or later", ErrBadModule},
	210: {"CUDA_ERROR_ALREADY_ACQUIRED", "resource already acquired", ours, nil},
	211: {"CUDA_ERROR_NOT_MAPPED", "resource not mapped", ours, nil},
	212: {"CUDA_ERROR_NOT_MAPPED_AS_ARRAY", "resource not mapped as array", ours, nil},
	213: {"CUDA_ERROR_NOT_MAPPED_AS_POINTER", "resource not mapped as pointer", ours, nil},
	214: {"CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered", "the GPU's memory failed; look at nvidia-smi -q -d ECC and reset or replace the GPU", ErrDeviceLost},
	215: {"CUDA_ERROR_UNSUPPORTED_LIMIT", "limit is not supported on this architecture", ours, nil},
	216: {"CUDA_ERROR_CONTEXT_ALREADY_IN_USE", "exclusive-thread device already in use by a different thread", "the GPU is in a mode that lets one thread use it; end the other program on it (nvidia-smi lists them) or run nvidia-smi -c 0", nil},
	217: {"CUDA_ERROR_PEER_ACCESS_UNSUPPORTED", "peer access is not supported between these two devices", ours, nil},
	218: {"CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed", "the kernels are corrupt or made for a newer GPU; build the program again", ErrBadModule},
	219: {"CUDA_ERROR_INVALID_GRAPHICS_CONTEXT", "invalid OpenGL or DirectX context", ours, nil},
	220: {"CUDA_ERROR_NVLINK_UNCORRECTABLE", "uncorrectable NVLink error detected during the execution", "look at nvidia-smi nvlink -e and reset the GPU", ErrDeviceLost},
	221: {"CUDA_ERROR_JIT_COMPILER_NOT_FOUND", "PTX JIT compiler library not found", "libnvidia-ptxjitcompiler.so.1 of the driver is missing; install the whole driver, or in a container ask for the capability compute", nil},
	222: {"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain", "install a newer NVIDIA driver", ErrDriverTooOld},
	223: {"CUDA_ERROR_JIT_COMPILATION_DISABLED", "PTX JIT compilation was disabled", "unset CUDA_DISABLE_PTX_JIT and CUDA_DISABLE_JIT", nil},
	224: {"CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY", "execution affinity is not supported by this device", ours, nil},
	225: {"CUDA_ERROR_UNSUPPORTED_DEVSIDE_SYNC", "the PTX calls cudaDeviceSynchronize, which is not supported", "the kernels are not those of this program; build it again", ErrBadModule},
	226: {"CUDA_ERROR_CONTAINED", "invalid memory access was contained", fault, ErrDeviceLost},
	300: {"CUDA_ERROR_INVALID_SOURCE", "device kernel source is invalid", "the kernels are corrupt; build the program again", ErrBadModule},
	301: {"CUDA_ERROR_FILE_NOT_FOUND", "file not found", "a file of the driver is missing; install the whole NVIDIA driver, in a container start it with --gpus all", nil},
	302: {"CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND", "shared object symbol not found", install, nil},
	303: {"CUDA_ERROR_SHARED_OBJECT_INIT_FAILED", "shared object initialization failed", install, nil},
	304: {"CUDA_ERROR_OPERATING_SYSTEM", "OS call failed or operation not supported on this OS", "look at the kernel's log (dmesg) for lines of NVRM", nil},
	400: {"CUDA_ERROR_INVALID_HANDLE", "invalid resource handle", ours, nil},
	401: {"CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state", ours, nil},
	402: {"CUDA_ERROR_LOSSY_QUERY", "the query would lose information", ours, nil},
	500: {"CUDA_ERROR_NOT_FOUND", "named symbol not found", ours, nil},
	600: {"CUDA_ERROR_NOT_READY", "device not ready", "synchronise with the work before asking for its result", nil},
	700: {"CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered", fault, ErrDeviceLost},
	701: {"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch", "a block has more threads than its registers allow; " + ours, nil},
	702: {"CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated", "the GPU drives a display, whose watchdog ended the kernel; use another GPU, or start the program again", ErrDeviceLost},
	703: {"CUDA_ERROR_LAUNCH_INCOMPATIBLE_TEXTURING", "launch uses incompatible texturing mode", ours, nil},
	704: {"CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED", "peer access is already enabled", ours, nil},
	705: {"CUDA_ERROR_PEER_ACCESS_NOT_ENABLED", "peer access has not been enabled", ours, nil},
	708: {"CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE", "the primary context has already been initialized", ours, nil},
	709: {"CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed", ours, ErrDeviceLost},
	710: {"CUDA_ERROR_ASSERT", "device-side assert triggered", fault, ErrDeviceLost},
	711: {"CUDA_ERROR_TOO_MANY_PEERS", "peer mapping resources exhausted", ours, nil},
	712: {"CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", "part or all of the requested memory range is already mapped", ours, nil},
	713: {"CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED", "pointer does not correspond to a registered memory region", ours, nil},
	714: {"CUDA_ERROR_HARDWARE_STACK_ERROR", "hardware stack error", fault, ErrDeviceLost},
	715: {"CUDA_ERROR_ILLEGAL_INSTRUCTION", "an illegal instruction was encountered", fault, ErrDeviceLost},
	716: {"CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address", fault, ErrDeviceLost},
	717: {"CUDA_ERROR_INVALID_ADDRESS_SPACE", "operation not supported on global/shared address space", fault, ErrDeviceLost},
	718: {"CUDA_ERROR_INVALID_PC", "invalid program counter", fault, ErrDeviceLost},
	719: {"CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure", fault, ErrDeviceLost},
	720: {"CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE", "too many blocks in cooperative launch", ours, nil},
	721: {"CUDA_ERROR_TENSOR_MEMORY_LEAK", "tensor memory not completely freed", fault, ErrDeviceLost},
	800: {"CUDA_ERROR_NOT_PERMITTED", "operation not permitted", "the system forbids it to this process; look at the rights of /dev/nvidia*, and in a container at --gpus, and at the log of the MPS server if there is one", nil},
	801: {"CUDA_ERROR_NOT_SUPPORTED", "operation not supported", "this GPU, its driver or its mode (virtual GPU, WSL) cannot do it; install a newer NVIDIA driver, or use another GPU", nil},
	802: {"CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized", "on a machine with NVSwitch start the service nvidia-fabricmanager and wait until it is up", nil},
	803: {"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination", "libcuda and the kernel's module are of different driver versions; restart the machine after a driver update, in a container mount the host's libcuda", ErrNoDriver},
	804: {"CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", "forward compatibility was attempted on non supported HW", "take the folder cuda/compat out of LD_LIBRARY_PATH, or install a newer driver", ErrDriverTooOld},
	805: {"CUDA_ERROR_MPS_CONNECTION_FAILED", "MPS client failed to connect to the MPS control daemon or the MPS server", mps, nil},
	806: {"CUDA_ERROR_MPS_RPC_FAILURE", "the remote procedural call between the MPS server and the MPS client failed", mps, ErrDeviceLost},
	807: {"CUDA_ERROR_MPS_SERVER_NOT_READY", "MPS server is not ready to accept new MPS client requests", mps, nil},
	808: {"CUDA_ERROR_MPS_MAX_CLIENTS_REACHED", "MPS server has reached its maximum number of clients", mps, nil},
	809: {"CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED", "MPS server has reached its maximum number of connections", mps, nil},
	810: {"CUDA_ERROR_MPS_CLIENT_TERMINATED", "the MPS client was terminated by the server", mps, ErrDeviceLost},
	811: {"CUDA_ERROR_CDP_NOT_SUPPORTED", "CUDA dynamic parallelism is not supported in this configuration, such as MPS", ours, nil},
	812: {"CUDA_ERROR_CDP_VERSION_MISMATCH", "a module mixes versions of CUDA dynamic parallelism", ours, nil},
	900: {"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing", capture, nil},
	901: {"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture", capture, nil},
	902: {"CUDA_ERROR_STREAM_CAPTURE_MERGE", "operation would result in a merge of separate capture sequences", capture, nil},
	903: {"CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not ended in the same stream as it began", ours, nil},
	904: {"CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work", "let the captured stream wait for an event of every stream that it was forked into", nil},
	905: {"CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "dependency created on uncaptured work in another stream", capture, nil},
	906: {"CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", "operation would make the legacy stream depend on a capturing blocking stream", capture, nil},
	907: {"CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream", "record an event of its own for what is outside of the graph", nil},
	908: {"CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", "attempt to terminate a thread-local capture sequence from another thread", ours, nil},
	909: {"CUDA_ERROR_TIMEOUT", "wait operation timed out", "look at nvidia-smi for what else the GPU does, and start the program again", nil},
	910: {"CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE", "the graph update was not performed because it included changes which violated constraints", ours, nil},
	911: {"CUDA_ERROR_EXTERNAL_DEVICE", "an async error has occurred in external entity outside of CUDA", fault, ErrDeviceLost},
	912: {"CUDA_ERROR_INVALID_CLUSTER_SIZE", "cluster misconfiguration", ours, nil},
	913: {"CUDA_ERROR_FUNCTION_NOT_LOADED", "the function is not loaded", ours, nil},
	914: {"CUDA_ERROR_INVALID_RESOURCE_TYPE", "one or more resources are of a type that the operation does not take", ours, nil},
	915: {"CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION", "one or more resources are insufficient or do not apply to the operation", ours, nil},
	916: {"CUDA_ERROR_KEY_ROTATION", "an error happened during the key rotation sequence", "the GPU runs in confidential computing mode, which changes its keys; start the program again, and tell who runs the machine if it fails again", nil},
	917: {"CUDA_ERROR_STREAM_DETACHED", "the stream is detached: its green context was destroyed", ours, nil},
	999: {"CUDA_ERROR_UNKNOWN", "unknown error", "look at the kernel's log (dmesg) for lines of NVRM; the program must be started again", ErrDeviceLost},
}

// codeError makes the error of a code from our own table.
func codeError(call string, code int) *Error {
	m, known := meanings[code]
	if !known {
		m = meaning{name: fmt.Sprintf("CUDA error %d", code), text: "a code that this program does not know"}
	}
	if call == "cuMemHostAlloc" && code == 2 {
		m.text, m.hint = "out of host memory that may be pinned", "end other programs on this machine, or let this one lock more memory (ulimit -l)"
	}
	return &Error{Call: call, Code: code, Name: m.name, Text: m.text, Hint: m.hint, kind: m.kind}
}
