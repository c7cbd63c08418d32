//go:build ignore

// Capture and graphs. While a stream is captured its work becomes nodes, each depending on what the stream had before
// and on the events it waited for; a stream that waits for an event of the capture joins it and must be waited for
// before the capture ends.
#define _GNU_SOURCE
#include "state.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct capture *captures;

static unsigned long self(void) { return (unsigned long)pthread_self(); }

void capture_invalidate(struct capture *c) { c->invalid = 1; }

int capture_forbids(void) {
	int code = 0;
	for (struct capture *c = captures; c; c = c->next)
		if (c->mode == 0 || (c->mode == 1 && c->thread == self())) {
			capture_invalidate(c);
			code = CAPTURE_UNSUPPORTED;
		}
	return code;
}

static void set_depends(int **to, int *to_count, const int *from, int count) {
	int *copy = malloc(sizeof(int) * (count + 1)); // from may be what is freed here
	memcpy(copy, from, sizeof(int) * count);
	free(*to);
	*to = copy;
	*to_count = count;
}

int capture_put(struct stream *s, struct work *w) {
	struct capture *c = s->capture;
	if (c->invalid) {
		work_free(w);
		return CAPTURE_INVALIDATED;
	}
	struct graph *g = c->graph;
	g->nodes = realloc(g->nodes, sizeof *g->nodes * (g->count + 1));
	struct node *n = &g->nodes[g->count];
	n->work = w;
	n->depends = NULL;
	set_depends(&n->depends, &n->depend_count, s->depends, s->depend_count);
	set_depends(&s->depends, &s->depend_count, &g->count, 1);
	g->count++;
	return OK;
}

int capture_record(struct stream *s, struct event *e) {
	if (s->capture->invalid)
		return CAPTURE_INVALIDATED;
	e->capture = s->capture;
	set_depends(&e->depends, &e->depend_count, s->depends, s->depend_count);
	return OK;
}

int capture_wait(struct stream *s, struct event *e) {
	if (!e->capture) { // work outside of the graph
		capture_invalidate(s->capture);
		return CAPTURE_ISOLATION;
	}
	struct capture *c = e->capture;
	if (c->invalid)
		return CAPTURE_INVALIDATED;
	if (s->capture && s->capture != c) {
		capture_invalidate(c);
		capture_invalidate(s->capture);
		return CAPTURE_MERGE;
	}
	if (!s->capture) {
		s->capture = c;
		set_depends(&s->depends, &s->depend_count, e->depends, e->depend_count);
		return OK;
	}
	int *all = malloc(sizeof(int) * (s->depend_count + e->depend_count + 1)), count = 0;
	for (int i = 0; i < s->depend_count; i++)
		all[count++] = s->depends[i];
	for (int i = 0; i < e->depend_count; i++) {
		int there = 0;
		for (int k = 0; k < count; k++)
			there |= all[k] == e->depends[i];
		if (!there)
			all[count++] = e->depends[i];
	}
	free(s->depends);
	s->depends = all;
	s->depend_count = count;
	return OK;
}

void graph_release(struct graph *g) {
	if (--g->references > 0)
		return;
	for (int i = 0; i < g->count; i++) {
		work_free(g->nodes[i].work);
		free(g->nodes[i].depends);
	}
	free(g->nodes);
	free(g);
}

static void leave_stream(handle h, void *body, const char *maker, long serial, void *arg) {
	(void)h, (void)maker, (void)serial;
	struct stream *s = body;
	if (s->capture == arg)
		s->capture = NULL;
}
static void leave_event(handle h, void *body, const char *maker, long serial, void *arg) {
	(void)h, (void)maker, (void)serial;
	struct event *e = body;
	if (e->capture == arg) {
		e->capture = NULL;
		mark_release(e->mark); // what it said before the capture is gone
		e->mark = NULL;
	}
}

// finish takes the capture off all streams and gives its graph.
static struct graph *finish(struct capture *c) {
	struct graph *g = c->graph;
	object_each(STREAM, c->origin->context, leave_stream, c);
	object_each(EVENT, c->origin->context, leave_event, c);
	for (struct capture **p = &captures; *p; p = &(*p)->next)
		if (*p == c) {
			*p = c->next;
			break;
		}
	free(c);
	return g;
}

void capture_drop(int context) {
	for (struct capture *c = captures, *next; c; c = next) {
		next = c->next;
		if (c->origin->context == context)
			graph_release(finish(c));
	}
}

STANDIN_API int cuStreamBeginCapture_v2(handle stream, int mode) {
	STANDIN_BEGIN(cuStreamBeginCapture_v2, STANDIN_CONTEXT);
	struct stream *s = stream_get(stream);
	if (!s)
		STANDIN_END(INVALID_HANDLE);
	if (mode < 0 || mode > 2)
		STANDIN_END(INVALID_VALUE);
	if (stream == 0) // the legacy stream cannot be captured
		STANDIN_END(CAPTURE_UNSUPPORTED);
	if (s->capture) {
		standin_violation("the stream is captured already");
		STANDIN_END(ILLEGAL_STATE);
	}
	struct capture *c = calloc(1, sizeof *c);
	c->mode = mode;
	c->thread = self();
	c->origin = s;
	c->graph = calloc(1, sizeof *c->graph);
	c->graph->references = 1;
	c->next = captures;
	captures = c;
	s->capture = c;
	set_depends(&s->depends, &s->depend_count, NULL, 0);
	STANDIN_END(OK);
}

struct tails {
	struct capture *capture;
	const char *reached;
	int loose;
};

static void look_at_tail(handle h, void *body, const char *maker, long serial, void *arg) {
	(void)h, (void)maker, (void)serial;
	struct stream *s = body;
	struct tails *t = arg;
	if (s->capture != t->capture || s == t->capture->origin)
		return;
	for (int i = 0; i < s->depend_count; i++)
		t->loose |= !t->reached[s->depends[i]];
}

// The capture ends whatever this returns: an injected error keeps no graph.
STANDIN_API int cuStreamEndCapture(handle stream, handle *out) {
	STANDIN_BEGIN(cuStreamEndCapture, STANDIN_CONTEXT | STANDIN_RELEASES);
	struct stream *s = stream_get(stream);
	if (!s)
		STANDIN_END(INVALID_HANDLE);
	if (!out)
		STANDIN_END(INVALID_VALUE);
	*out = 0;
	struct capture *c = s->capture;
	if (!c) {
		standin_violation("the stream is not being captured");
		STANDIN_END(ILLEGAL_STATE);
	}
	if (c->mode != 2 && c->thread != self()) {
		standin_violation("the capture was begun by another thread");
		STANDIN_END(CAPTURE_WRONG_THREAD);
	}
	if (c->origin != s) {
		standin_violation("the capture was begun on another stream");
		capture_invalidate(c);
		STANDIN_END(CAPTURE_UNMATCHED);
	}
	int context = s->context;
	char *reached = calloc(1, c->graph->count + 1);
	for (int i = 0; i < s->depend_count; i++)
		reached[s->depends[i]] = 1;
	for (int i = c->graph->count - 1; i >= 0; i--)
		for (int k = 0; reached[i] && k < c->graph->nodes[i].depend_count; k++)
			reached[c->graph->nodes[i].depends[k]] = 1;
	struct tails t = {c, reached, 0};
	object_each(STREAM, context, look_at_tail, &t);
	free(reached);
	int code = c->invalid ? CAPTURE_INVALIDATED : t.loose ? CAPTURE_UNJOINED : OK;
	struct graph *g = finish(c);
	if (code != OK || standin_owed())
		graph_release(g);
	else
		*out = object_make(GRAPH, g, context, standin_current);
	STANDIN_END(code);
}

STANDIN_API int cuGraphGetNodes(handle graph, handle *nodes, size_t *count) {
	STANDIN_BEGIN(cuGraphGetNodes, STANDIN_CONTEXT);
	struct graph *g = object_get(GRAPH, graph);
	if (!g)
		STANDIN_END(INVALID_HANDLE);
	if (!count)
		STANDIN_END(INVALID_VALUE);
	if (nodes) {
		standin_violation("the stand-in gives the number of nodes only");
		STANDIN_END(NOT_SUPPORTED);
	}
	*count = (size_t)g->count;
	STANDIN_END(OK);
}

STANDIN_API int cuGraphInstantiateWithFlags(handle *out, handle graph, unsigned long long flags) {
	STANDIN_BEGIN(cuGraphInstantiateWithFlags, STANDIN_CONTEXT);
	struct graph *g = object_get(GRAPH, graph);
	if (!g)
		STANDIN_END(INVALID_HANDLE);
	if (!out || flags > 15)
		STANDIN_END(INVALID_VALUE);
	struct graph *x = calloc(1, sizeof *x);
	x->references = 1;
	x->count = g->count;
	x->nodes = calloc(g->count + 1, sizeof *x->nodes);
	for (int i = 0; i < g->count; i++) {
		x->nodes[i].work = g->nodes[i].work;
		x->nodes[i].work->references++;
		set_depends(&x->nodes[i].depends, &x->nodes[i].depend_count, g->nodes[i].depends, g->nodes[i].depend_count);
	}
	*out = object_make(GRAPH_EXEC, x, current()->device, standin_current);
	STANDIN_END(OK);
}

// graph_run does the nodes, each after those it depends on: in the order of the recording, or in the delayed modes the
// latest first, so that a dependency that the recording has not shows.
int graph_run(struct graph *g, struct stream *s) {
	if (set.delay == 0) {
		for (int i = 0; i < g->count; i++) {
			int code = work_run(g->nodes[i].work, s);
			if (code != OK)
				return code;
		}
		return OK;
	}
	char *done = calloc(1, g->count + 1);
	int code = OK;
	for (int left = g->count; left > 0 && code == OK; left--)
		for (int i = g->count - 1; i >= 0; i--) {
			int ready = !done[i];
			for (int k = 0; ready && k < g->nodes[i].depend_count; k++)
				ready = done[g->nodes[i].depends[k]];
			if (ready) {
				done[i] = 1;
				code = work_run(g->nodes[i].work, s);
				break;
			}
		}
	free(done);
	return code;
}

STANDIN_API int cuGraphLaunch(handle exec, handle stream) {
	STANDIN_BEGIN(cuGraphLaunch, STANDIN_CONTEXT);
	struct graph *x = object_get(GRAPH_EXEC, exec);
	struct stream *s = stream_get(stream);
	if (!x || !s)
		STANDIN_END(INVALID_HANDLE);
	struct work *w = work_new(GRAPH_RUN, standin_current);
	w->graph = x;
	x->references++;
	STANDIN_END(stream_put(s, w));
}

static int destroy(enum kind kind, handle h) {
	struct graph *g = object_get(kind, h);
	if (!g)
		return INVALID_HANDLE;
	object_drop(kind, h);
	graph_release(g);
	return OK;
}

STANDIN_API int cuGraphDestroy(handle graph) {
	STANDIN_BEGIN(cuGraphDestroy, STANDIN_CONTEXT | STANDIN_RELEASES);
	STANDIN_END(destroy(GRAPH, graph));
}

STANDIN_API int cuGraphExecDestroy(handle exec) {
	STANDIN_BEGIN(cuGraphExecDestroy, STANDIN_CONTEXT | STANDIN_RELEASES);
	STANDIN_END(destroy(GRAPH_EXEC, exec));
}
