//go:build ignore

// Handles: streams, events, modules and the like are given out as numbers that look like addresses nobody can read. A
// number holds kind, generation and index, so a handle that was destroyed, or never was one, is recognised without
// touching memory. A place in the table is used again only after 256 others were freed.
#include "state.h"

#include <stdlib.h>
#include <string.h>

const char *const kind_names[KINDS] = {
	"", "context", "stream", "event", "module", "function", "graph", "executable graph", "object",
};

struct place {
	void *body;
	const char *maker;
	long serial;
	unsigned generation;
	int context, next_free;
};

static struct table {
	struct place *place;
	int count, room;
	int first_free, last_free, free_count;
	long made;
} tables[KINDS];

#define TAG 0x5d0000000000u

static handle encode(enum kind kind, int index) {
	return TAG | (handle)kind << 36 | (handle)(tables[kind].place[index].generation & 0xffff) << 20 | (handle)index;
}

handle object_make(enum kind kind, void *body, int context, const char *maker) {
	struct table *t = &tables[kind];
	int index;
	if (t->free_count > 256) {
		index = t->first_free;
		t->first_free = t->place[index].next_free;
		t->free_count--;
	} else {
		if (t->count == t->room) {
			t->room = t->room ? 2 * t->room : 64;
			t->place = realloc(t->place, sizeof *t->place * t->room);
		}
		index = t->count++;
		t->place[index].generation = 0;
	}
	struct place *p = &t->place[index];
	p->body = body;
	p->maker = maker;
	p->context = context;
	p->serial = ++t->made;
	p->generation++;
	return encode(kind, index);
}

static struct place *find(enum kind kind, handle h) {
	struct table *t = &tables[kind];
	handle index = h & 0xfffff;
	if (h >> 40 != TAG >> 40 || (h >> 36 & 15) != kind || index >= (handle)t->count)
		return NULL;
	return &t->place[index];
}

void *object_peek(enum kind kind, handle h) {
	struct place *p = find(kind, h);
	return p && p->body && (p->generation & 0xffff) == (h >> 20 & 0xffff) ? p->body : NULL;
}

void *object_get(enum kind kind, handle h) {
	struct place *p = find(kind, h);
	if (!p) {
		if (h == 0)
			standin_violation("the %s is NULL", kind_names[kind]);
		else if (h >> 40 == TAG >> 40 && (h >> 36 & 15) > 0 && (h >> 36 & 15) < KINDS)
			standin_violation("the handle %#llx is of the kind %s, not %s", (unsigned long long)h, kind_names[h >> 36 & 15], kind_names[kind]);
		else
			standin_violation("%#llx is no %s", (unsigned long long)h, kind_names[kind]);
		return NULL;
	}
	if (!object_peek(kind, h)) {
		standin_violation("the %s %#llx was destroyed before", kind_names[kind], (unsigned long long)h);
		return NULL;
	}
	struct context *c = current();
	if (p->context >= 0 && c && c->device != p->context) {
		standin_violation("the %s %#llx belongs to the context of device %d, the thread's context is that of device %d",
			kind_names[kind], (unsigned long long)h, p->context, c->device);
		return NULL;
	}
	return p->body;
}

void object_drop(enum kind kind, handle h) {
	struct table *t = &tables[kind];
	struct place *p = find(kind, h);
	int index = p - t->place;
	p->body = NULL;
	p->next_free = -1;
	if (t->free_count == 0)
		t->first_free = index;
	else
		t->place[t->last_free].next_free = index;
	t->last_free = index;
	t->free_count++;
}

void object_each(enum kind kind, int context, void (*f)(handle h, void *body, const char *maker, long serial, void *arg), void *arg) {
	for (int i = 0; i < tables[kind].count; i++) {
		struct place *p = &tables[kind].place[i];
		if (p->body && (context < 0 || p->context == context))
			f(encode(kind, i), p->body, p->maker, p->serial, arg);
	}
}

// Objects of another library: the body is the name of what they are.
long standin_object_make(const char *kind, int of_context) {
	return (long)object_make(OTHER, (void *)kind, of_context ? current()->device : -1, standin_current);
}

int standin_object_check(long number, const char *kind) {
	const char *is = object_peek(OTHER, (handle)number);
	if (is && strcmp(is, kind) == 0)
		return 1;
	standin_violation(is ? "the handle is of the kind %2$s, not %1$s" : "the handle is no living %s", kind, is);
	return 0;
}

int standin_object_drop(long number, const char *kind) {
	if (!standin_object_check(number, kind))
		return 0;
	object_drop(OTHER, (handle)number);
	return 1;
}
