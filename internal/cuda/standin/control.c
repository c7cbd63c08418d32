//go:build ignore

// The control surface of the stand-in: faults, settings, reports. Also the one lock, the count of calls, and what is
// noted when the caller breaks a rule.
#define _GNU_SOURCE
#include "state.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct standin_call *calls;
static int initialised;
static int owed; // error that STANDIN_END returns although the call did its work

const char *standin_current = "";

int standin_owed(void) { return owed; }

static const struct settings defaults = {
	.devices = 1, .driver = 12040, .memory = 4LL << 30, .major = 8, .minor = 0, .multiprocessors = 108,
	.l2 = 40 << 20, .shared = 48 << 10, .optin = 163 << 10, .hide = 1, .strict = 1, .cublaslt = 120405,
};
struct settings set;

// Texts are kept once each, in the order in which they came.
struct texts {
	char **line;
	int count;
};
static struct texts violations, leaks;

static void note(struct texts *t, char *text) {
	for (int i = 0; i < t->count; i++)
		if (strcmp(t->line[i], text) == 0) {
			free(text);
			return;
		}
	if (t->count >= 1000) { // enough to see what is wrong; a loop must not fill the memory
		free(text);
		return;
	}
	t->line = realloc(t->line, sizeof(char *) * (t->count + 1));
	t->line[t->count++] = text;
	const char *report = getenv("STANDIN_REPORT");
	if (report) {
		FILE *f = fopen(report, "a");
		if (f) {
			fprintf(f, "%s: %s\n", t == &leaks ? "leak" : "violation", text);
			fclose(f);
		}
	}
}

static void forget(struct texts *t) {
	for (int i = 0; i < t->count; i++)
		free(t->line[i]);
	free(t->line);
	t->line = NULL;
	t->count = 0;
}

void standin_violation(const char *format, ...) {
	char *text, *whole;
	va_list args;
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		abort();
	va_end(args);
	if (asprintf(&whole, "%s: %s", standin_current, text) < 0)
		abort();
	free(text);
	note(&violations, whole);
}

void leak(const char *format, ...) {
	char *text;
	va_list args;
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		abort();
	va_end(args);
	note(&leaks, text);
}

void format_bytes(char out[32], size_t n) {
	char digits[24];
	int length = snprintf(digits, sizeof digits, "%zu", n), o = 0;
	for (int i = 0; i < length; i++) {
		if (i > 0 && (length - i) % 3 == 0)
			out[o++] = ',';
		out[o++] = digits[i];
	}
	snprintf(out + o, 32 - o, " bytes");
}

// A fault: the left-th call from now of that name returns the code; every: all calls from then on.
#define FAULTS 64
static struct fault {
	char name[64];
	long left;
	int code, every;
} faults[FAULTS];
static int fault_count;

// kills reports whether the real driver considers a context dead that has returned this code once.
static int kills(int code) {
	switch (code) {
	case 4: case 214: case 220: case 226: case 700: case 702: case 709: case 710: case 714: case 715: case 716: case 717:
	case 718: case 719: case 721: case 999:
		return 1;
	}
	return 0;
}

// asked returns the code that a test wants from this call, 0 when it wants none. The first fault set wins; others of
// that name count on.
static int asked(const char *name) {
	int code = 0;
	for (int i = 0; i < fault_count; i++) {
		struct fault *f = &faults[i];
		if (strcmp(f->name, name) != 0 || f->left == 0)
			continue;
		if (f->left > 1) {
			f->left--;
			continue;
		}
		if (!f->every)
			f->left = 0;
		if (code == 0)
			code = f->code;
	}
	return code;
}

int standin_enter(struct standin_call *call, int flags) {
	pthread_mutex_lock(&lock);
	standin_current = call->name;
	owed = 0;
	if (!call->known) {
		call->known = 1;
		call->next = calls;
		calls = call;
	}
	call->count++;
	if (flags & STANDIN_INIT && !initialised) {
		standin_violation("called before cuInit");
		return flags & STANDIN_OTHER ? STANDIN_OTHER_FAILED : NOT_INITIALIZED;
	}
	if ((flags & STANDIN_CONTEXT) == STANDIN_CONTEXT) {
		int verdict = current_verdict();
		if (verdict != OK) {
			standin_violation(verdict == CONTEXT_IS_DESTROYED ? "the context of this thread was released"
				: "this thread has no current context");
			return flags & STANDIN_OTHER ? STANDIN_OTHER_FAILED : verdict;
		}
	}
	int code = asked(call->name);
	if (!(flags & STANDIN_OTHER)) {
		for (int i = 0; kills(code) && i < MAX_DEVICES; i++)
			if (contexts[i].retained && !contexts[i].sticky)
				contexts[i].sticky = code;
		if ((flags & STANDIN_CONTEXT) == STANDIN_CONTEXT && current()->sticky)
			code = current()->sticky;
	}
	if (code == 0 && flags & STANDIN_UNSAFE)
		if ((code = capture_forbids()) != 0)
			return code; // a release that capture forbids does not release
	if (code != 0 && flags & STANDIN_RELEASES) {
		owed = code;
		return 0;
	}
	return code;
}

int standin_leave(int code) {
	if (owed != 0) {
		code = owed;
		owed = 0;
	}
	memory_hide();
	standin_current = "";
	pthread_mutex_unlock(&lock);
	return code;
}

// standin_fail makes the nth call of name from now return the code (n = 0: every call).
STANDIN_API void standin_fail(const char *name, long n, int code) {
	pthread_mutex_lock(&lock);
	int at = 0;
	while (at < fault_count && faults[at].left != 0)
		at++;
	if (at < FAULTS) {
		struct fault *f = &faults[at];
		snprintf(f->name, sizeof f->name, "%s", name);
		f->left = n > 0 ? n : 1;
		f->every = n <= 0;
		f->code = code;
		if (at == fault_count)
			fault_count++;
	}
	pthread_mutex_unlock(&lock);
}

// standin_lose makes every context that lives now return the code from here on, as after a fault on the device.
STANDIN_API void standin_lose(int code) {
	pthread_mutex_lock(&lock);
	for (int i = 0; i < MAX_DEVICES; i++)
		if (contexts[i].retained)
			contexts[i].sticky = code;
	pthread_mutex_unlock(&lock);
}

static long long *setting(const char *key) {
#define KEY(name) if (strcmp(key, #name) == 0) return &set.name
	KEY(devices); KEY(driver); KEY(memory); KEY(major); KEY(minor); KEY(multiprocessors); KEY(l2); KEY(shared);
	KEY(optin); KEY(delay); KEY(seed); KEY(null); KEY(exclusive); KEY(ats); KEY(hide); KEY(strict); KEY(cublaslt); KEY(anybias); KEY(workspace);
	return NULL;
}

// standin_set changes a setting; returns 0, or 1 when there is none of that name.
STANDIN_API int standin_set(const char *key, long long value) {
	pthread_mutex_lock(&lock);
	long long *s = setting(key);
	if (s)
		*s = value;
	if (set.devices > MAX_DEVICES)
		set.devices = MAX_DEVICES;
	if (!set.hide || set.null)
		memory_show();
	pthread_mutex_unlock(&lock);
	return s == NULL;
}

long long standin_number(const char *key) {
	long long *s = setting(key);
	return s ? *s : 0;
}

static long copy_out(char *out, long room, const char *text, long at) {
	long n = strlen(text);
	for (long i = 0; i < n; i++)
		if (at + i < room)
			out[at + i] = text[i];
	return at + n;
}

static long report(struct texts *t, char *out, long room) {
	long at = 0;
	for (int i = 0; i < t->count; i++) {
		at = copy_out(out, room, t->line[i], at);
		at = copy_out(out, room, "\n", at);
	}
	return at;
}

// standin_violations writes what was noted, a line each, and returns the length (more than room: ask again with more).
// It first looks whether somebody wrote into the red zones around living memory.
STANDIN_API long standin_violations(char *out, long room, int clear) {
	pthread_mutex_lock(&lock);
	standin_current = "report";
	memory_check_red();
	memory_hide();
	long n = report(&violations, out, room);
	if (clear && n <= room)
		forget(&violations);
	pthread_mutex_unlock(&lock);
	return n;
}

static void live(handle h, void *body, const char *maker, long serial, void *arg) {
	(void)h;
	(void)body;
	leak("%s #%ld of %s is still there", (const char *)arg, serial, maker);
}

// standin_leaks writes what a released context still held, and what is living now.
STANDIN_API long standin_leaks(char *out, long room, int clear) {
	pthread_mutex_lock(&lock);
	struct texts kept = {0};
	for (int i = 0; i < leaks.count; i++) {
		kept.line = realloc(kept.line, sizeof(char *) * (kept.count + 1));
		kept.line[kept.count++] = strdup(leaks.line[i]);
	}
	const char *file = getenv("STANDIN_REPORT");
	char *name = file ? strdup(file) : NULL;
	unsetenv("STANDIN_REPORT"); // what lives now may still be given back
	for (int i = 0; i < MAX_DEVICES; i++)
		if (contexts[i].retained)
			leak("the primary context of device %d is still retained (%d times)", i, contexts[i].retained);
	for (int k = STREAM; k < KINDS; k++)
		if (k != FUNCTION)
			object_each(k, -1, live, (void *)kind_names[k]);
	memory_each_leak();
	if (name)
		setenv("STANDIN_REPORT", name, 1);
	free(name);
	long n = report(&leaks, out, room);
	forget(&leaks);
	if (clear && n <= room)
		forget(&kept);
	leaks = kept;
	pthread_mutex_unlock(&lock);
	return n;
}

// standin_calls writes "name count" for each call made since the last reset.
STANDIN_API long standin_calls(char *out, long room) {
	pthread_mutex_lock(&lock);
	long at = 0;
	for (struct standin_call *c = calls; c; c = c->next) {
		char line[128];
		if (c->count == 0)
			continue;
		snprintf(line, sizeof line, "%s %ld\n", c->name, c->count);
		at = copy_out(out, room, line, at);
	}
	pthread_mutex_unlock(&lock);
	return at;
}

static void configure(void) {
	set = defaults;
	const char *text = getenv("STANDIN");
	if (!text)
		return;
	char *copy = strdup(text), *save = NULL;
	for (char *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		char *value = strchr(word, '=');
		if (!value) {
			fprintf(stderr, "stand-in: STANDIN: %s has no value\n", word);
			abort();
		}
		*value++ = 0;
		char name[64];
		long n;
		int code;
		long long *s = setting(word);
		if (s)
			*s = atoll(value);
		else if (strcmp(word, "fail") == 0 && sscanf(value, "%63[^:]:%ld:%d", name, &n, &code) == 3)
			standin_fail(name, n, code);
		else {
			fprintf(stderr, "stand-in: STANDIN: unknown setting %s\n", word);
			abort();
		}
	}
	free(copy);
}

__attribute__((constructor)) static void load(void) { configure(); }

// standin_reset brings everything but cuInit back to the beginning: contexts and what they hold, faults, settings,
// counts, reports.
STANDIN_API void standin_reset(void) {
	pthread_mutex_lock(&lock);
	standin_current = "reset";
	for (int i = 0; i < MAX_DEVICES; i++)
		if (contexts[i].retained)
			context_destroy(&contexts[i], 0);
	memory_drop(-1, 0);
	forget(&violations);
	forget(&leaks);
	fault_count = 0;
	for (struct standin_call *c = calls; c; c = c->next)
		c->count = 0;
	pthread_mutex_unlock(&lock);
	configure();
}

// standin_forget is for the end of a test.
STANDIN_API void standin_forget(void) {
	pthread_mutex_lock(&lock);
	memory_forget();
	pthread_mutex_unlock(&lock);
}

STANDIN_API int cuInit(unsigned flags) {
	STANDIN_BEGIN(cuInit, STANDIN_PLAIN);
	if (flags != 0)
		STANDIN_END(INVALID_VALUE);
	if (set.devices == 0)
		STANDIN_END(NO_DEVICE);
	initialised = 1;
	STANDIN_END(OK);
}
