//go:build ignore

// Streams and events. Work runs in one of three ways, all of which the real driver may choose:
//
//	delay 0  when it is enqueued
//	delay 1  as late as possible: when somebody waits for it, and then no more than he waits for
//	delay 2  at random moments between: with each call a random stream runs a random number of pieces of its work
//
// So a missing wait that is harmless by luck in one of them shows in another.
#define _GNU_SOURCE
#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct work *work_new(enum work_kind kind, const char *name) {
	struct work *w = calloc(1, sizeof *w);
	w->kind = kind;
	w->name = name;
	w->references = 1;
	return w;
}

void mark_release(struct mark *m) {
	if (m && --m->references == 0)
		free(m);
}

void work_free(struct work *w) {
	if (--w->references > 0)
		return;
	free(w->staged);
	mark_release(w->mark);
	if (w->function)
		function_release(w->function);
	if (w->graph)
		graph_release(w->graph);
	free(w);
}

static double now_ms(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

static int step(struct stream *s);

static void reach(struct mark *m) {
	while (!m->done && m->owner && step(m->owner))
		;
}

// work_run does one piece of work; a rule broken only now (memory freed in between) kills the context as a bad address
// on the device does.
int work_run(struct work *w, struct stream *s) {
	struct context *c = &contexts[s->context];
	if (c->sticky && w->kind != RECORD && w->kind != WAIT)
		return c->sticky;
	const char *call = standin_current;
	char name[300];
	if (strcmp(call, w->name) != 0) {
		snprintf(name, sizeof name, "%s, run by %s", w->name, call);
		standin_current = name;
	}
	int whole = 1;
	for (int i = 0; i < w->range_count; i++) {
		struct standin_range *r = &w->ranges[i];
		whole &= in_host_arena((uintptr_t)r->p) ? check_host((uintptr_t)r->p, r->bytes, r->what)
			: check_device((uintptr_t)r->p, r->bytes, r->what);
	}
	int code = OK;
	if (w->kind != RECORD && w->kind != WAIT)
		memory_show();
	if (!whole)
		code = ILLEGAL_ADDRESS;
	else
		switch (w->kind) {
		case COPY:
			memmove((void *)w->dst, (void *)w->src, w->bytes);
			break;
		case FILL:
			if (w->width == 1)
				memset((void *)w->dst, (int)w->value, w->bytes);
			for (size_t i = 0; w->width > 1 && i < w->bytes; i += w->width)
				memcpy((char *)w->dst + i, &w->value, w->width);
			break;
		case KERNEL:
			code = kernel_run(w);
			break;
		case RECORD:
			w->mark->done = 1;
			w->mark->ms = now_ms();
			break;
		case WAIT:
			reach(w->mark);
			break;
		case GRAPH_RUN:
			code = graph_run(w->graph, s);
			break;
		case CALLBACK:
			w->run(w->staged);
			break;
		}
	standin_current = call;
	if (code != OK && !c->sticky)
		c->sticky = code;
	return code;
}

// step runs the first piece of work of the stream; 0: there was none.
static int step(struct stream *s) {
	struct work *w = s->first;
	if (!w)
		return 0;
	if (w->kind == WAIT)
		reach(w->mark); // before it leaves the queue: it may need this stream's own mark
	s->first = w->next;
	if (!s->first)
		s->last = &s->first;
	s->queued--;
	work_run(w, s);
	work_free(w);
	return 1;
}

void stream_drain(struct stream *s) {
	while (step(s))
		;
}

static void drain_one(handle h, void *body, const char *maker, long serial, void *arg) {
	(void)h, (void)maker, (void)serial, (void)arg;
	stream_drain(body);
}

// Streams that were destroyed while they had work: it runs when somebody waits for it, as that of any other.
static struct stream *orphans;

static void orphans_free(int context) {
	for (struct stream **p = &orphans, *s; (s = *p);)
		if (s->context == context) {
			*p = s->next;
			stream_free(s);
		} else
			p = &s->next;
}

void drain_context(int context) {
	if (contexts[context].legacy)
		stream_drain(contexts[context].legacy);
	object_each(STREAM, context, drain_one, NULL);
	for (struct stream *s = orphans; s; s = s->next)
		if (s->context == context)
			stream_drain(s);
	orphans_free(context);
}

static unsigned random_next(void) {
	static unsigned long long state;
	static long long seed = -1;
	if (seed != set.seed) {
		seed = set.seed;
		state = (unsigned long long)seed * 2862933555777941757ull + 3037000493ull;
	}
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)(state >> 33);
}

static void maybe_step(handle h, void *body, const char *maker, long serial, void *arg) {
	(void)h, (void)maker, (void)serial, (void)arg;
	struct stream *s = body;
	for (unsigned n = random_next() % 4; n > 0 && step(s); n--)
		;
}

struct stream *stream_get(handle h) {
	struct context *c = current();
	if (h != 0)
		return object_get(STREAM, h);
	if (!c->legacy) {
		c->legacy = calloc(1, sizeof *c->legacy);
		c->legacy->context = c->device;
		c->legacy->last = &c->legacy->first;
	}
	return c->legacy;
}

int standin_check_stream(const void *stream) { return stream_get((handle)(uintptr_t)stream) != NULL; }

static void drain_blocking(handle h, void *body, const char *maker, long serial, void *arg) {
	(void)h, (void)maker, (void)serial, (void)arg;
	if (!(((struct stream *)body)->flags & 1))
		stream_drain(body);
}

// stream_put enqueues work, or makes it a node of the graph that is being captured. It owns the work from here on.
int stream_put(struct stream *s, struct work *w) {
	struct context *c = &contexts[s->context];
	if (s->capture)
		return capture_put(s, w);
	if (s == c->legacy) { // waits for all streams that are not non-blocking, and they for it
		for (struct capture *p = captures; p; p = p->next)
			if (p->origin->context == s->context && !(p->origin->flags & 1)) {
				capture_invalidate(p);
				work_free(w);
				return CAPTURE_IMPLICIT;
			}
		object_each(STREAM, s->context, drain_blocking, NULL);
		for (struct stream *o = orphans; o; o = o->next)
			if (o->context == s->context)
				drain_blocking(0, o, NULL, 0, NULL);
	} else if (c->legacy && !(s->flags & 1))
		stream_drain(c->legacy);
	*s->last = w;
	s->last = &w->next;
	s->queued++;
	if (set.delay == 0) {
		stream_drain(s);
		return c->sticky;
	}
	if (set.delay == 2)
		object_each(STREAM, s->context, maybe_step, NULL);
	return OK;
}

int standin_enqueue(void *stream, const char *name, void (*run)(void *arg), const void *arg, size_t arg_bytes,
	const struct standin_range *ranges, int count) {
	struct stream *s = stream_get((handle)(uintptr_t)stream);
	if (!s)
		return INVALID_HANDLE;
	if (count > 8)
		abort();
	struct work *w = work_new(CALLBACK, name);
	w->run = run;
	w->staged = malloc(arg_bytes + 1);
	w->bytes = arg_bytes;
	memcpy(w->staged, arg, arg_bytes);
	for (int i = 0; i < count; i++)
		if (ranges[i].bytes > 0)
			w->ranges[w->range_count++] = ranges[i];
	return stream_put(s, w);
}

STANDIN_API int cuStreamCreate(handle *out, unsigned flags) {
	STANDIN_BEGIN(cuStreamCreate, STANDIN_CONTEXT);
	if (!out || flags > 1)
		STANDIN_END(INVALID_VALUE);
	struct stream *s = calloc(1, sizeof *s);
	s->context = current()->device;
	s->flags = (int)flags;
	s->last = &s->first;
	*out = s->self = object_make(STREAM, s, s->context, standin_current);
	STANDIN_END(OK);
}

void stream_free(struct stream *s) {
	while (s->first) {
		struct work *w = s->first;
		s->first = w->next;
		if (w->kind == RECORD)
			w->mark->done = 1;
		work_free(w);
	}
	free(s->depends);
	free(s);
}

// A destroyed stream still does the work that it was given, in its time.
STANDIN_API int cuStreamDestroy_v2(handle stream) {
	STANDIN_BEGIN(cuStreamDestroy_v2, STANDIN_CONTEXT | STANDIN_RELEASES);
	struct stream *s = stream ? object_get(STREAM, stream) : NULL;
	if (!s) {
		if (!stream)
			standin_violation("the stream is NULL");
		STANDIN_END(INVALID_HANDLE);
	}
	if (s->capture) {
		standin_violation("the stream is being captured");
		capture_drop(s->context);
	}
	object_drop(STREAM, stream);
	if (s->first) {
		s->next = orphans;
		orphans = s;
	} else
		stream_free(s);
	STANDIN_END(OK);
}

STANDIN_API int cuStreamSynchronize(handle stream) {
	STANDIN_BEGIN(cuStreamSynchronize, STANDIN_CONTEXT);
	struct stream *s = stream_get(stream);
	if (!s)
		STANDIN_END(INVALID_HANDLE);
	if (s->capture) {
		capture_invalidate(s->capture);
		STANDIN_END(CAPTURE_UNSUPPORTED);
	}
	stream_drain(s);
	STANDIN_END(current()->sticky);
}

STANDIN_API int cuStreamQuery(handle stream) {
	STANDIN_BEGIN(cuStreamQuery, STANDIN_CONTEXT);
	struct stream *s = stream_get(stream);
	if (!s)
		STANDIN_END(INVALID_HANDLE);
	if (s->capture) {
		capture_invalidate(s->capture);
		STANDIN_END(CAPTURE_UNSUPPORTED);
	}
	if (!s->first)
		STANDIN_END(current()->sticky);
	step(s); // so that a loop that asks ends
	STANDIN_END(NOT_READY);
}

STANDIN_API int cuStreamWaitEvent(handle stream, handle event, unsigned flags) {
	STANDIN_BEGIN(cuStreamWaitEvent, STANDIN_CONTEXT);
	struct stream *s = stream_get(stream);
	struct event *e = object_get(EVENT, event);
	if (!s || !e)
		STANDIN_END(INVALID_HANDLE);
	if (flags > 1)
		STANDIN_END(INVALID_VALUE);
	if (s->capture || e->capture)
		STANDIN_END(capture_wait(s, e));
	if (!e->mark) {
		if (set.strict)
			standin_violation("the event was never recorded, so the stream waits for nothing");
		STANDIN_END(OK);
	}
	struct work *w = work_new(WAIT, standin_current);
	w->mark = e->mark;
	w->mark->references++;
	STANDIN_END(stream_put(s, w));
}

STANDIN_API int cuEventCreate(handle *out, unsigned flags) {
	STANDIN_BEGIN(cuEventCreate, STANDIN_CONTEXT);
	if (!out || flags > 7)
		STANDIN_END(INVALID_VALUE);
	struct event *e = calloc(1, sizeof *e);
	e->context = current()->device;
	e->flags = (int)flags;
	*out = e->self = object_make(EVENT, e, e->context, standin_current);
	STANDIN_END(OK);
}

void event_free(struct event *e) {
	mark_release(e->mark);
	free(e->depends);
	free(e);
}

STANDIN_API int cuEventDestroy_v2(handle event) {
	STANDIN_BEGIN(cuEventDestroy_v2, STANDIN_CONTEXT | STANDIN_RELEASES);
	struct event *e = object_get(EVENT, event);
	if (!e)
		STANDIN_END(INVALID_HANDLE);
	object_drop(EVENT, event);
	event_free(e);
	STANDIN_END(OK);
}

STANDIN_API int cuEventRecord(handle event, handle stream) {
	STANDIN_BEGIN(cuEventRecord, STANDIN_CONTEXT);
	struct event *e = object_get(EVENT, event);
	struct stream *s = stream_get(stream);
	if (!s || !e)
		STANDIN_END(INVALID_HANDLE);
	if (s->capture)
		STANDIN_END(capture_record(s, e));
	e->capture = NULL;
	mark_release(e->mark);
	struct mark *m = calloc(1, sizeof *m);
	m->references = 2;
	m->owner = s;
	e->mark = m;
	struct work *w = work_new(RECORD, standin_current);
	w->mark = m;
	STANDIN_END(stream_put(s, w));
}

STANDIN_API int cuEventQuery(handle event) {
	STANDIN_BEGIN(cuEventQuery, STANDIN_CONTEXT | STANDIN_UNSAFE);
	struct event *e = object_get(EVENT, event);
	if (!e)
		STANDIN_END(INVALID_HANDLE);
	if (e->capture)
		STANDIN_END(CAPTURED_EVENT);
	if (!e->mark || e->mark->done)
		STANDIN_END(current()->sticky);
	step(e->mark->owner); // so that a loop that asks ends
	STANDIN_END(NOT_READY);
}

STANDIN_API int cuEventSynchronize(handle event) {
	STANDIN_BEGIN(cuEventSynchronize, STANDIN_CONTEXT | STANDIN_UNSAFE);
	struct event *e = object_get(EVENT, event);
	if (!e)
		STANDIN_END(INVALID_HANDLE);
	if (e->capture)
		STANDIN_END(CAPTURED_EVENT);
	if (!e->mark) {
		if (set.strict)
			standin_violation("the event was never recorded, so there is nothing to wait for");
		STANDIN_END(OK);
	}
	reach(e->mark);
	STANDIN_END(current()->sticky);
}

STANDIN_API int cuEventElapsedTime(float *ms, handle start, handle end) {
	STANDIN_BEGIN(cuEventElapsedTime, STANDIN_CONTEXT);
	struct event *a = object_get(EVENT, start), *b = object_get(EVENT, end);
	if (!a || !b)
		STANDIN_END(INVALID_HANDLE);
	if (!ms)
		STANDIN_END(INVALID_VALUE);
	if (a->capture || b->capture)
		STANDIN_END(CAPTURED_EVENT);
	if (!a->mark || !b->mark || (a->flags | b->flags) & 2) { // 2: made without timing
		if (set.strict)
			standin_violation("%s", (a->flags | b->flags) & 2 ? "an event was made without timing" : "an event was never recorded");
		STANDIN_END(INVALID_HANDLE);
	}
	if (!a->mark->done || !b->mark->done)
		STANDIN_END(NOT_READY);
	*ms = (float)(b->mark->ms - a->mark->ms);
	STANDIN_END(OK);
}

static void leaked_stream(handle h, void *body, const char *maker, long serial, void *arg) {
	(void)body, (void)h;
	if (arg)
		leak("%s #%ld of %s was not given back", (const char *)arg, serial, maker);
}

static void free_stream(handle h, void *body, const char *maker, long serial, void *arg) {
	(void)maker, (void)serial, (void)arg;
	object_drop(STREAM, h);
	stream_free(body);
}
static void free_event(handle h, void *body, const char *maker, long serial, void *arg) {
	(void)maker, (void)serial, (void)arg;
	object_drop(EVENT, h);
	event_free(body);
}
static void free_module(handle h, void *body, const char *maker, long serial, void *arg) {
	(void)maker, (void)serial, (void)arg;
	object_drop(MODULE, h);
	module_free(body);
}
static void free_graph(handle h, void *body, const char *maker, long serial, void *arg) {
	(void)maker, (void)serial;
	object_drop(*(enum kind *)arg, h);
	graph_release(body);
}
static void forget_other(handle h, void *body, const char *maker, long serial, void *arg) {
	(void)body, (void)maker, (void)serial, (void)arg;
	object_drop(OTHER, h);
}

// context_destroy frees all that the context holds. With report, what its owner should have given back is a leak; of a
// dead context nobody can give back anything.
void context_destroy(struct context *c, int report) {
	report = report && !c->sticky;
	if (report)
		drain_context(c->device);
	for (int k = STREAM; report && k < KINDS; k++)
		if (k != FUNCTION && k != OTHER)
			object_each(k, c->device, leaked_stream, (void *)kind_names[k]);
	if (c->sticky)
		object_each(OTHER, c->device, forget_other, NULL);
	capture_drop(c->device);
	enum kind graph = GRAPH, exec = GRAPH_EXEC;
	object_each(EVENT, c->device, free_event, NULL);
	object_each(STREAM, c->device, free_stream, NULL);
	object_each(GRAPH, c->device, free_graph, &graph);
	object_each(GRAPH_EXEC, c->device, free_graph, &exec);
	object_each(MODULE, c->device, free_module, NULL);
	orphans_free(c->device);
	if (c->legacy)
		stream_free(c->legacy);
	c->legacy = NULL;
	memory_drop(c->device, report);
	object_drop(CONTEXT, c->self);
	c->retained = 0;
	c->sticky = 0;
	shared_context(c->device, 0);
}
