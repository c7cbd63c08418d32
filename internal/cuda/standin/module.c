//go:build ignore

// Modules: what the driver's compiler would find in a PTX text, without compiling it. The text is read far enough to
// know its version and target, its entries with their parameters, shared memory and limits, and to refuse what no
// compiler would take: other bytes than text, unbalanced braces, a missing head, instructions that do not exist.
#define _GNU_SOURCE
#include "state.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct log { // the compiler's log, as the caller's options want it
	char *text;
	size_t room;
};

static void say(struct log *log, const char *format, ...) {
	va_list args;
	va_start(args, format);
	if (log->text && log->room)
		vsnprintf(log->text, log->room, format, args);
	va_end(args);
}

void function_release(struct function *f) {
	if (--f->references == 0)
		free(f);
}

void module_free(struct module *m) {
	for (int i = 0; i < m->count; i++) {
		if (m->functions[i]->self)
			object_drop(FUNCTION, m->functions[i]->self);
		m->functions[i]->unloaded = 1;
		function_release(m->functions[i]);
	}
	free(m->functions);
	free(m);
}

static struct function *function_add(struct module *m) {
	struct function *f = calloc(1, sizeof *f);
	f->references = 1;
	f->max_threads = 1024;
	m->functions = realloc(m->functions, sizeof f * (m->count + 1));
	m->functions[m->count++] = f;
	return f;
}

// The driver that first took a version of the language.
static int driver_of(int major, int minor) {
	static const struct { int ptx, driver; } first[] = {
		{70, 11000}, {71, 11010}, {72, 11020}, {73, 11030}, {74, 11040}, {75, 11050}, {76, 11060}, {77, 11070}, {78, 11080},
		{80, 12000}, {81, 12010}, {82, 12020}, {83, 12030}, {84, 12040}, {85, 12050}, {86, 12070}, {87, 12080}, {88, 12090},
		{90, 13000}, {91, 13010},
	};
	int ptx = 10 * major + minor;
	for (size_t i = 0; i < sizeof first / sizeof *first; i++)
		if (first[i].ptx >= ptx)
			return first[i].driver;
	return 1 << 30;
}

// The version of the language that a driver takes at most, for the log.
static int newest(int driver) {
	int ptx = 70;
	for (int p = 70; p <= 91; p++)
		if (driver_of(p / 10, p % 10) <= driver)
			ptx = p;
	return ptx;
}

// A piece of the text: an identifier, a number, a directive, or one other character.
struct reader {
	const char *at;
	int line;
	char token[256];
	struct log *log;
	int failed;
};

static int next(struct reader *r) {
	for (;;) {
		while (isspace((unsigned char)*r->at))
			r->line += *r->at++ == '\n';
		if (r->at[0] == '/' && r->at[1] == '/') {
			while (*r->at && *r->at != '\n')
				r->at++;
		} else if (r->at[0] == '/' && r->at[1] == '*') {
			const char *end = strstr(r->at + 2, "*/");
			if (!end) {
				r->at += strlen(r->at);
				continue;
			}
			for (; r->at < end + 2; r->at++)
				r->line += *r->at == '\n';
		} else
			break;
	}
	size_t n = 0;
	const char *p = r->at;
	if (*p == '"') {
		for (p++; *p && *p != '"' && *p != '\n'; p++)
			;
		p += *p == '"';
	} else if (isalnum((unsigned char)*p) || strchr("_$%.", *p ? *p : '\t')) {
		for (p++; isalnum((unsigned char)*p) || strchr("_$.:", *p ? *p : '\t') || *p == '%'; p++)
			if (*p == ':' && p[1] != ':')
				break;
			else if (*p == ':')
				p++;
	} else if (*p)
		p++;
	n = (size_t)(p - r->at);
	if (n >= sizeof r->token)
		n = sizeof r->token - 1;
	memcpy(r->token, r->at, n);
	r->token[n] = 0;
	r->at = p;
	return n > 0;
}

static int fail(struct reader *r, const char *format, ...) {
	char what[400];
	va_list args;
	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	if (!r->failed)
		say(r->log, "ptxas application ptx input, line %d; fatal   : Parsing error near '%s': %s", r->line, r->token, what);
	r->failed = 1;
	return 0;
}

static int is(struct reader *r, const char *text) { return strcmp(r->token, text) == 0; }

static unsigned type_size(const char *type) {
	if (type[0] != '.' || !strchr("subf", type[1] ? type[1] : '?'))
		return strcmp(type, ".pred") == 0 ? 1 : 0;
	int bits = atoi(type + 2);
	return bits == 8 || bits == 16 || bits == 32 || bits == 64 || bits == 128 ? (unsigned)bits / 8 : 0;
}

// variable reads ".align 8 .b8 name[16]" after .param or .shared, up to what follows it: its size and alignment.
static unsigned variable(struct reader *r, unsigned *align, char name[256]) {
	unsigned size = 0, count = 1;
	*align = 0;
	name[0] = 0;
	while (next(r)) {
		if (is(r, ".align")) {
			if (!next(r) || (*align = (unsigned)atoi(r->token)) == 0)
				return fail(r, "no alignment"), 0;
		} else if (is(r, ".ptr") || is(r, ".global") || is(r, ".const") || is(r, ".local") || is(r, ".shared") || is(r, ".visible"))
			;
		else if (type_size(r->token))
			size = type_size(r->token);
		else if (is(r, "[")) {
			unsigned n = next(r) && isdigit((unsigned char)r->token[0]) ? (unsigned)strtoul(r->token, NULL, 0) : 0;
			if (n > 0 && !next(r))
				return 0;
			count *= n;
			if (!is(r, "]"))
				return fail(r, "no ]"), 0;
		} else if (is(r, ",") || is(r, ")") || is(r, ";") || is(r, "="))
			break;
		else if (isalpha((unsigned char)r->token[0]) || strchr("_$%", r->token[0]))
			snprintf(name, 256, "%s", r->token);
		else
			return fail(r, "unexpected in a declaration"), 0;
	}
	if (size == 0 || name[0] == 0)
		return fail(r, "no declaration"), 0;
	if (*align == 0)
		*align = size;
	return size * count;
}

static const char *const instructions =
	" abs activemask add addc alloca and applypriority atom bar barrier bfe bfi bfind bmsk bra brev brkpt brx call clz cnot "
	"clusterlaunchcontrol "
	"copysign cos cp createpolicy cvt cvta discard div dp2a dp4a elect ex2 exit fence fma fns getctarank griddepcontrol "
	"isspacep istypep ld ldmatrix ldu lg2 lop3 mad mad24 madc mapa match max mbarrier membar min mma mov movmatrix mul "
	"mul24 multimem nanosleep neg not or pmevent popc prefetch prefetchu prmt rcp red redux rem ret rsqrt sad selp set "
	"setmaxnreg setp shf shfl shl shr sin slct sqrt st stackrestore stacksave stmatrix sub subc suld suq sured sust "
	"szext tanh tcgen05 tensormap testp tex tld4 trap txq vabsdiff vadd vmad vmax vmin vote vset vshl vshr vsub wgmma "
	"wmma xor ";

static int instruction(const char *token) {
	char root[64];
	int n = 0;
	root[n++] = ' ';
	for (; *token && *token != '.' && n < 60; token++)
		root[n++] = *token;
	root[n++] = ' ';
	root[n] = 0;
	return n > 2 && strstr(instructions, root) != NULL;
}

// body reads from after { to the }, and checks that each statement begins with something that exists. Shared variables
// inside are added up.
static unsigned body(struct reader *r) {
	unsigned shared = 0, align;
	char name[256];
	int depth = 1, begins = 1;
	while (depth > 0) {
		if (!next(r))
			return fail(r, "the text ends inside a function"), 0;
		if (is(r, "{") && begins)
			depth++;
		else if (is(r, "}") && begins)
			depth--;
		else if (is(r, "{") || is(r, "}")) { // a list of registers
			while (!is(r, "}") && next(r))
				if (is(r, ";"))
					return fail(r, "no }"), 0;
		} else if (is(r, ";"))
			begins = 1;
		else if (begins && is(r, "@")) { // a predicate: @p or @!p
			next(r);
			if (is(r, "!"))
				next(r);
		} else if (begins && is(r, ".shared")) {
			unsigned n = variable(r, &align, name);
			shared = (shared + align - 1) / (align ? align : 1) * (align ? align : 1) + n;
			if (r->failed)
				return 0;
		} else if (begins && is(r, ".loc")) { // ends with its line
			while (*r->at && *r->at != '\n')
				r->at++;
		} else if (begins && is(r, ".pragma"))
			begins = 0;
		else if (begins && r->token[0] == '.') {
			static const char *const known[] = {".reg", ".local", ".param", ".const", ".global", ".branchtargets", ".calltargets", ".callprototype"};
			int found = 0;
			for (size_t i = 0; i < sizeof known / sizeof *known; i++)
				found |= is(r, known[i]);
			if (!found)
				return fail(r, "unknown directive"), 0;
			begins = 0;
		} else if (begins) {
			const char *after = r->at;
			while (*after == ' ' || *after == '\t')
				after++;
			if (*after == ':' && after[1] != ':') { // a label
				r->at = after + 1;
				continue;
			}
			if (!instruction(r->token))
				return fail(r, "Not a name of any known instruction"), 0;
			begins = 0;
		}
	}
	return shared;
}

static int numbers(struct reader *r, unsigned out[3]) {
	out[0] = out[1] = out[2] = 1;
	for (int i = 0; i < 3; i++) {
		if (!next(r) || !isdigit((unsigned char)r->token[0]))
			return fail(r, "a number must stand here");
		out[i] = (unsigned)atoi(r->token);
		const char *after = r->at;
		while (isspace((unsigned char)*after))
			after++;
		if (*after != ',')
			return 1;
		next(r);
	}
	return 1;
}

static int entry(struct reader *r, struct module *m) {
	struct function *f = function_add(m);
	if (!next(r) || !(isalpha((unsigned char)r->token[0]) || strchr("_$%", r->token[0])))
		return fail(r, "an entry has no name");
	snprintf(f->name, sizeof f->name, "%s", r->token);
	if (!next(r))
		return fail(r, "an entry has no body");
	if (is(r, "(")) {
		while (!is(r, ")")) {
			if (!next(r))
				return fail(r, "the parameters do not end");
			if (is(r, ")"))
				break;
			if (!is(r, ".param") || f->parameters == 256)
				return fail(r, "no parameter");
			unsigned align;
			char name[256];
			unsigned size = variable(r, &align, name), at = f->parameter_bytes;
			if (r->failed)
				return 0;
			at = (at + align - 1) / align * align;
			f->sizes[f->parameters] = size;
			f->offsets[f->parameters++] = at;
			f->parameter_bytes = at + size;
		}
		next(r);
	}
	while (r->token[0] == '.') {
		unsigned n[3];
		if (is(r, ".maxntid")) {
			if (!numbers(r, n))
				return 0;
			f->max_threads = n[0] * n[1] * n[2];
		} else if (is(r, ".reqntid")) {
			if (!numbers(r, f->required))
				return 0;
			f->max_threads = f->required[0] * f->required[1] * f->required[2];
		} else if (is(r, ".minnctapersm") || is(r, ".maxnreg") || is(r, ".reqnctapercluster") || is(r, ".maxclusterrank")) {
			if (!numbers(r, n))
				return 0;
		} else if (is(r, ".pragma")) {
			while (next(r) && !is(r, ";"))
				;
		} else if (!is(r, ".noreturn") && !is(r, ".explicitcluster"))
			return fail(r, "unknown directive");
		next(r);
	}
	if (!is(r, "{"))
		return fail(r, "an entry has no body");
	f->static_shared = body(r);
	return !r->failed;
}

// A variable of the whole module: it belongs to each entry whose text names it.
struct shared_variable {
	char name[256];
	unsigned bytes;
};

static int parse(const char *text, struct module *m, struct log *log) {
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p > 126 || (*p < 32 && !isspace(*p))) {
			say(log, "ptxas application ptx input, line 1; fatal   : Unexpected non-ASCII character encountered");
			return INVALID_PTX;
		}
	struct reader r = {.at = text, .line = 1, .log = log};
	if (!next(&r) || !is(&r, ".version") || !next(&r)) {
		fail(&r, ".version must stand first");
		return INVALID_PTX;
	}
	int major = 0, minor = 0, target = 0, sized = 0;
	char suffix[8] = "";
	if (sscanf(r.token, "%d.%d", &major, &minor) != 2) {
		fail(&r, "no version");
		return INVALID_PTX;
	}
	if (driver_of(major, minor) > set.driver) {
		int most = newest((int)set.driver);
		say(log, "ptxas application ptx input, line %d; fatal   : Unsupported .version %d.%d; current version is '%d.%d'", r.line, major, minor, most / 10, most % 10);
		return UNSUPPORTED_PTX_VERSION;
	}
	struct shared_variable *shared = NULL;
	int shared_count = 0;
	const char *starts[1024], *ends[1024];
	int entries = 0;
	while (!r.failed && next(&r)) {
		if (is(&r, ".target")) {
			if (!next(&r) || sscanf(r.token, "sm_%d%7s", &target, suffix) < 1)
				fail(&r, "no target");
			for (const char *after = r.at;; after = r.at) {
				while (*after == ' ')
					after++;
				if (*after != ',')
					break;
				next(&r);
				next(&r);
			}
		} else if (is(&r, ".address_size")) {
			if (!next(&r) || !is(&r, "64"))
				fail(&r, "the address size must be 64");
			sized = 1;
		} else if (!target)
			fail(&r, ".target must stand here");
		else if (is(&r, ".visible") || is(&r, ".weak") || is(&r, ".extern") || is(&r, ".common"))
			;
		else if (is(&r, ".entry")) {
			const char *start = r.at;
			if (entries == 1024)
				fail(&r, "too many entries for the stand-in");
			else if (entry(&r, m)) {
				m->functions[m->count - 1]->ptx = (unsigned)target;
				starts[entries] = start;
				ends[entries++] = r.at;
			}
		} else if (is(&r, ".shared")) {
			unsigned align;
			shared = realloc(shared, sizeof *shared * (shared_count + 1));
			shared[shared_count].bytes = variable(&r, &align, shared[shared_count].name);
			shared_count++;
		} else if (is(&r, ".func")) {
			while (next(&r) && !is(&r, "{") && !is(&r, ";"))
				;
			if (is(&r, "{"))
				body(&r);
		} else if (is(&r, ".global") || is(&r, ".const") || is(&r, ".alias")) {
			while (next(&r) && !is(&r, ";"))
				;
			if (!is(&r, ";"))
				fail(&r, "no ;");
		} else if (is(&r, ".file"))
			while (*r.at && *r.at != '\n')
				r.at++;
		else if (is(&r, ".section")) {
			while (next(&r) && !is(&r, "{"))
				;
			while (next(&r) && !is(&r, "}"))
				;
		} else if (is(&r, ".pragma"))
			while (next(&r) && !is(&r, ";"))
				;
		else
			fail(&r, "unknown directive");
	}
	for (int e = 0; !r.failed && e < entries; e++)
		for (int i = 0; i < shared_count; i++) {
			const char *found = strstr(starts[e], shared[i].name);
			if (found && found < ends[e])
				m->functions[e]->static_shared += shared[i].bytes;
		}
	free(shared);
	if (!r.failed && (!target || !sized))
		fail(&r, "%s is missing", target ? ".address_size" : ".target");
	if (r.failed)
		return INVALID_PTX;
	int have = (int)(10 * set.major + set.minor);
	if (target > have || (suffix[0] == 'a' && target != have)) {
		say(log, "ptxas application ptx input, line 1; fatal   : SM version specified by .target is higher than default SM version assumed");
		return suffix[0] == 'a' && target < have ? NO_BINARY_FOR_GPU : INVALID_PTX;
	}
	return OK;
}

static uint64_t number(const unsigned char *p, int bytes) {
	uint64_t n = 0;
	for (int i = bytes - 1; i >= 0; i--)
		n = n << 8 | p[i];
	return n;
}

// A cubin is an ELF file: its functions are the sections .text.NAME. It has no length of its own here, so it is read
// as the real driver must: by what its head says.
static int parse_cubin(const unsigned char *p, struct module *m, struct log *log) {
	if (p[4] != 2 || number(p + 18, 2) != 190) {
		say(log, "the image is an ELF file, but not for a GPU");
		return INVALID_IMAGE;
	}
	unsigned flags = (unsigned)number(p + 48, 4), arch = flags & 0xff;
	if (p[7] == 0x41) // newer form of the flags
		arch = flags >> 8 & 0xff;
	int have = (int)(10 * set.major + set.minor);
	if ((int)arch / 10 != have / 10 || (int)arch > have)
		return NO_BINARY_FOR_GPU;
	const unsigned char *sections = p + number(p + 40, 8);
	int size = (int)number(p + 58, 2), count = (int)number(p + 60, 2), strings = (int)number(p + 62, 2);
	if (size != 64 || strings >= count)
		return INVALID_IMAGE;
	const char *names = (const char *)p + number(sections + 64 * strings + 24, 8);
	for (int i = 0; i < count; i++) {
		const char *name = names + number(sections + 64 * i, 4);
		if (strncmp(name, ".text.", 6) == 0) {
			struct function *f = function_add(m);
			snprintf(f->name, sizeof f->name, "%s", name + 6);
			f->parameters = -1;
		}
	}
	return OK;
}

static int load(handle *out, const void *image, struct log *log) {
	if (!out || !image) {
		standin_violation("the %s is NULL", out ? "image" : "place for the module");
		return INVALID_VALUE;
	}
	struct module *m = calloc(1, sizeof *m);
	int code;
	const unsigned char *p = image;
	if (p[0] == 0x7f && memcmp(p, "\177ELF", 4) == 0)
		code = parse_cubin(p, m, log);
	else if (p[0] == 0)
		code = INVALID_IMAGE;
	else
		code = parse(image, m, log);
	if (code != OK) {
		module_free(m);
		return code;
	}
	int context = current()->device;
	for (int i = 0; i < m->count; i++)
		m->functions[i]->context = context;
	*out = object_make(MODULE, m, context, standin_current);
	return OK;
}

// The options carry a value each in the place of a pointer; sizes come back in the same place.
STANDIN_API int cuModuleLoadDataEx(handle *out, const void *image, unsigned count, int *options, void **values) {
	STANDIN_BEGIN(cuModuleLoadDataEx, STANDIN_CONTEXT | STANDIN_UNSAFE);
	struct log error = {0}, info = {0};
	if (count > 0 && (!options || !values)) {
		standin_violation("there are options without values");
		STANDIN_END(INVALID_VALUE);
	}
	for (unsigned i = 0; i < count; i++)
		switch (options[i]) {
		case 3: info.text = values[i]; break;
		case 4: info.room = (size_t)(uintptr_t)values[i] & 0xffffffff; break;
		case 5: error.text = values[i]; break;
		case 6: error.room = (size_t)(uintptr_t)values[i] & 0xffffffff; break;
		default:
			if (options[i] < 0 || options[i] > 34) {
				standin_violation("there is no option %d", options[i]);
				STANDIN_END(INVALID_VALUE);
			}
		}
	if ((error.text && !error.room) || (info.text && !info.room))
		standin_violation("a log buffer has no size");
	if (error.room)
		memset(error.text, 0, error.room); // writes all of it: a size that is too large shows
	int code = load(out, image, &error);
	for (unsigned i = 0; i < count; i++)
		if (options[i] == 6)
			values[i] = (void *)(error.text && error.text[0] ? strlen(error.text) + 1 : 0);
		else if (options[i] == 4)
			values[i] = (void *)0;
	STANDIN_END(code);
}

STANDIN_API int cuModuleUnload(handle module) {
	STANDIN_BEGIN(cuModuleUnload, STANDIN_CONTEXT | STANDIN_RELEASES | STANDIN_UNSAFE);
	struct module *m = object_get(MODULE, module);
	if (!m)
		STANDIN_END(INVALID_HANDLE);
	drain_context(current()->device); // what runs still needs its code
	object_drop(MODULE, module);
	module_free(m);
	STANDIN_END(OK);
}

STANDIN_API int cuModuleGetFunction(handle *out, handle module, const char *name) {
	STANDIN_BEGIN(cuModuleGetFunction, STANDIN_CONTEXT);
	struct module *m = object_get(MODULE, module);
	if (!m)
		STANDIN_END(INVALID_HANDLE);
	if (!out || !name)
		STANDIN_END(INVALID_VALUE);
	for (int i = 0; i < m->count; i++) {
		struct function *f = m->functions[i];
		if (strcmp(f->name, name) == 0) {
			if (!f->self)
				f->self = object_make(FUNCTION, f, f->context, standin_current);
			*out = f->self;
			STANDIN_END(OK);
		}
	}
	STANDIN_END(NOT_FOUND);
}

STANDIN_API int cuFuncGetAttribute(int *value, int attribute, handle function) {
	STANDIN_BEGIN(cuFuncGetAttribute, STANDIN_CONTEXT);
	struct function *f = object_get(FUNCTION, function);
	if (!f)
		STANDIN_END(INVALID_HANDLE);
	if (!value)
		STANDIN_END(INVALID_VALUE);
	switch (attribute) {
	case 0: *value = (int)f->max_threads; break;
	case 1: *value = (int)f->static_shared; break;
	case 2: case 3: *value = 0; break;                 // constant, local memory
	case 4: *value = 32; break;                        // registers
	case 5: *value = (int)f->ptx; break;                // architecture that the PTX was written for
	case 6: *value = (int)(10 * set.major + set.minor); break;
	case 8: *value = (int)(f->dynamic_shared ? f->dynamic_shared : set.shared - f->static_shared); break;
	default:
		standin_violation("the stand-in knows no function attribute %d", attribute);
		STANDIN_END(INVALID_VALUE);
	}
	STANDIN_END(OK);
}

STANDIN_API int cuFuncSetAttribute(handle function, int attribute, int value) {
	STANDIN_BEGIN(cuFuncSetAttribute, STANDIN_CONTEXT);
	struct function *f = object_get(FUNCTION, function);
	if (!f)
		STANDIN_END(INVALID_HANDLE);
	if (attribute != 8 || value < 0 || value + (int)f->static_shared > set.optin)
		STANDIN_END(INVALID_VALUE);
	f->dynamic_shared = (unsigned)value;
	STANDIN_END(OK);
}
