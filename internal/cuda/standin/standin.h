// What the parts of the stand-in share with each other and with lt.c: the calls, their faults, device memory and
// stream work. The functions marked STANDIN_API that are not the driver's are the control surface that Go reaches (standin.go).
//
// A function of the driver begins with STANDIN_BEGIN and ends with STANDIN_END:
//
//	STANDIN_API int cuSomething(void *stream) {
//		STANDIN_BEGIN(cuSomething, STANDIN_CONTEXT);
//		…
//		STANDIN_END(0);
//	}
//
// STANDIN_BEGIN takes the one lock, counts the call, asks whether a test wants this call to fail, and checks that
// cuInit was called and that the thread has a living context; STANDIN_END gives the lock back. A return between the
// two would keep the lock for ever.
#ifndef STANDIN_H
#define STANDIN_H

#include <stddef.h>
#include <stdint.h>

#define STANDIN_API __attribute__((visibility("default")))

enum {
	STANDIN_PLAIN = 0,    // may be called at any time
	STANDIN_INIT = 1,     // cuInit must have been called
	STANDIN_CONTEXT = 3,  // the thread must have a living context (which contains STANDIN_INIT)
	STANDIN_RELEASES = 4, // gives something back: an injected error is returned, but the thing is given back, as the
	                      // real driver does when it reports the error of an earlier launch from such a call
	STANDIN_UNSAFE = 8,   // forbidden while a stream is captured
	STANDIN_OTHER = 16,   // of another library, which has error codes of its own: a call without a context returns
	                      // STANDIN_OTHER_FAILED
};
#define STANDIN_OTHER_FAILED 1

struct standin_call {
	const char *name;
	long count;
	struct standin_call *next;
	int known;
};

int standin_enter(struct standin_call *call, int flags);
int standin_leave(int code);

#define STANDIN_BEGIN(NAME, FLAGS)                         \
	static struct standin_call standin_this = {#NAME, 0, 0, 0}; \
	do {                                                    \
		int standin_verdict_ = standin_enter(&standin_this, (FLAGS)); \
		if (standin_verdict_ != 0)                          \
			return standin_leave(standin_verdict_);         \
	} while (0)
#define STANDIN_END(CODE) return standin_leave(CODE)

// standin_violation notes that the caller broke a rule. The text is a printf format and one sentence; the name of the
// running call is put before it. Equal texts are noted once.
void standin_violation(const char *format, ...) __attribute__((format(printf, 1, 2)));

// standin_check_range reports whether the bytes from p on lie in one living allocation of the device, and notes a
// violation that says `what` it is about when they do not.
int standin_check_range(const void *p, size_t bytes, const char *what);

// standin_check_stream reports whether the handle is a living stream of the thread's context (0 is the legacy default
// stream); else it notes a violation.
int standin_check_stream(const void *stream);

// A range that queued work touches: it is checked again when the work runs.
struct standin_range {
	const void *p;
	size_t bytes;
	const char *what; // a string that lives as long as the library
};

// standin_enqueue puts work on a stream: run(arg) is called with a copy of the argument when the stream gets there
// (at once, or later in the delayed mode), or becomes a node when the stream is being captured. At most 8 ranges.
// Returns 0 or an error code of the driver.
int standin_enqueue(void *stream, const char *name, void (*run)(void *arg), const void *arg, size_t arg_bytes,
	const struct standin_range *ranges, int count);

// standin_object_make and _drop note something that must be given back (a handle of another library), so that the
// report of leaks names it. make returns a number for drop; drop returns 0 when the number is not a living one of that
// kind, and then has noted a violation. One that is of the current context may be left to that when it is dead.
long standin_object_make(const char *kind, int of_context);
int standin_object_drop(long number, const char *kind);
int standin_object_check(long number, const char *kind);

// standin_number reads a setting (control.c lists them).
long long standin_number(const char *key);

#endif
