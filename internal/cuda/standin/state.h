// What the parts of the stand-in of libcuda know of each other. Everything here is used under the one lock.
#ifndef STATE_H
#define STATE_H

#include "standin.h"

typedef uint64_t handle;

// The codes of the driver that the stand-in returns by itself.
enum {
	OK = 0,
	INVALID_VALUE = 1,
	OUT_OF_MEMORY = 2,
	NOT_INITIALIZED = 3,
	DEVICE_UNAVAILABLE = 46,
	NO_DEVICE = 100,
	INVALID_DEVICE = 101,
	INVALID_IMAGE = 200,
	INVALID_CONTEXT = 201,
	NO_BINARY_FOR_GPU = 209,
	INVALID_PTX = 218,
	UNSUPPORTED_PTX_VERSION = 222,
	INVALID_HANDLE = 400,
	ILLEGAL_STATE = 401,
	NOT_FOUND = 500,
	NOT_READY = 600,
	ILLEGAL_ADDRESS = 700,
	LAUNCH_OUT_OF_RESOURCES = 701,
	CONTEXT_IS_DESTROYED = 709,
	LAUNCH_FAILED = 719,
	NOT_SUPPORTED = 801,
	CAPTURE_UNSUPPORTED = 900,
	CAPTURE_INVALIDATED = 901,
	CAPTURE_MERGE = 902,
	CAPTURE_UNMATCHED = 903,
	CAPTURE_UNJOINED = 904,
	CAPTURE_ISOLATION = 905,
	CAPTURE_IMPLICIT = 906,
	CAPTURED_EVENT = 907,
	CAPTURE_WRONG_THREAD = 908,
};

#define MAX_DEVICES 8

// settings are what a test may choose; keys in control.c.
struct settings {
	long long devices, driver, memory, major, minor, multiprocessors, l2, shared, optin;
	long long delay;     // 0: work runs when it is enqueued; 1: when somebody waits for it; 2: at random moments between
	long long seed;      // of the random moments
	long long null;      // launches only count
	long long exclusive; // a second process may not have a context
	long long ats;       // the device reads the host's pageable memory itself, when the stream gets there
	long long hide;      // memory of the device can be touched by its work only, not by the program
	long long strict;    // 1: suspicious but allowed use counts as a violation too
	long long cublaslt;  // version of the library
	long long workspace; // bytes that the first algorithm of a product wants at least
	long long anybias;   // 1: there is an algorithm for every product with a bias
};
extern struct settings set;

extern const char *standin_current; // name of the call that runs
int standin_owed(void);            // the injected error of a call that gives something back

void format_bytes(char out[32], size_t n);
void leak(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Handles (objects.c). A handle holds kind, generation and index, so that a stale or invented one is told from a good
// one without touching memory.
enum kind { CONTEXT = 1, STREAM, EVENT, MODULE, FUNCTION, GRAPH, GRAPH_EXEC, OTHER, KINDS };
extern const char *const kind_names[KINDS];
handle object_make(enum kind kind, void *body, int context, const char *maker);
void *object_get(enum kind kind, handle h); // NULL, and a violation noted, when it is not living or not of this context
void *object_peek(enum kind kind, handle h); // the same without a violation and for any context
void object_drop(enum kind kind, handle h);
// object_each calls f for all living objects of a kind and context (-1: all).
void object_each(enum kind kind, int context, void (*f)(handle h, void *body, const char *maker, long serial, void *arg), void *arg);

// Contexts (device.c).
struct context {
	int device, retained;
	int sticky; // the error that killed it
	handle self;
	struct stream *legacy;
};
extern struct context contexts[MAX_DEVICES];
struct context *current(void); // living context of this thread, NULL without one
int current_verdict(void);     // OK, or why there is none
void context_destroy(struct context *c, int report);
void device_reset(void);

// Memory (memory.c).
struct allocation {
	uintptr_t at;
	size_t bytes;
	uintptr_t base;
	size_t mapped;
	long serial;
	int context;
};
struct allocation *device_find(uintptr_t p); // the living allocation that p lies in or one past the end of
int in_device_arena(uintptr_t p);
int in_host_arena(uintptr_t p);
int check_device(uintptr_t p, size_t bytes, const char *what);
int check_host(uintptr_t p, size_t bytes, const char *what); // true for memory that is not ours; checks ours
int host_pinned(uintptr_t p);
void memory_drop(int context, int report);
void memory_each_leak(void);
void memory_show(void); // before device memory is touched here
void memory_hide(void);
void memory_forget(void);
int memory_check_red(void); // true when whole; notes a violation for each overrun
size_t memory_used(int device);

// Process sharing (shared.c).
void shared_account(int device, long long bytes);
long long shared_used(int device); // by all living processes
void shared_context(int device, int there);
int shared_others(int device); // living other processes with a context
const char *library_folder(void);

// Streams (stream.c).
struct mark { // a place in a stream: an event points to it, waits wait for it
	int references, done;
	double ms;
	struct stream *owner;
};
enum work_kind { COPY, FILL, KERNEL, RECORD, WAIT, GRAPH_RUN, CALLBACK };
struct work {
	enum work_kind kind;
	const char *name; // of the call or kernel
	struct work *next;
	int references;
	uintptr_t dst, src;
	size_t bytes;
	void *staged;       // COPY: the source's bytes as they were; CALLBACK: argument; KERNEL: parameters
	unsigned value, width;
	struct function *function;
	unsigned grid[3], block[3], shared;
	struct mark *mark;
	struct graph *graph;
	void (*run)(void *arg);
	struct standin_range ranges[8];
	int range_count;
};
struct stream {
	handle self;
	int context, flags;
	struct work *first, **last;
	long queued;
	struct capture *capture;
	int *depends, depend_count; // while captured: nodes that the next one depends on
	struct stream *next;        // when it was destroyed with work left
};
struct event {
	handle self;
	int context, flags;
	struct mark *mark;
	struct capture *capture;
	int *depends, depend_count;
};
struct stream *stream_get(handle h); // NULL with a violation; 0 is the legacy stream
int stream_put(struct stream *s, struct work *w); // takes w over
void stream_drain(struct stream *s);
void stream_free(struct stream *s);
void event_free(struct event *e);
void drain_context(int context);
void mark_release(struct mark *m);
void work_free(struct work *w);
int work_run(struct work *w, struct stream *s);
struct work *work_new(enum work_kind kind, const char *name);

// Modules (module.c) and launches (launch.c).
struct function {
	char name[256];
	handle self;
	int references; // module and queued work
	int parameters; // -1: not known (a cubin)
	unsigned sizes[256], offsets[256], parameter_bytes;
	unsigned static_shared, dynamic_shared, max_threads, ptx;
	unsigned required[3];
	int context, unloaded;
};
struct module {
	struct function **functions;
	int count;
};
void module_free(struct module *m);
void function_release(struct function *f);
int kernel_run(struct work *w);

// Graphs (graph.c).
struct node {
	struct work *work;
	int *depends, depend_count;
};
struct graph { // also what an executable graph holds
	struct node *nodes;
	int count, references;
};
struct capture {
	int mode, invalid;
	unsigned long thread;
	struct stream *origin;
	struct graph *graph;
	struct capture *next;
};
extern struct capture *captures;
int capture_forbids(void); // the code that an unsafe call gets on this thread, 0 when none
int capture_put(struct stream *s, struct work *w);
int capture_record(struct stream *s, struct event *e);
int capture_wait(struct stream *s, struct event *e);
void capture_invalidate(struct capture *c);
void graph_release(struct graph *g);
int graph_run(struct graph *g, struct stream *s);
void capture_drop(int context);

#endif
