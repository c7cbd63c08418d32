//go:build ignore

// The stand-in of libcublasLt: the functions that package cuda resolves, a naive product with sums in double, and checks
// of everything that a caller can get wrong: the life of descriptors, types and sizes of attributes, matrices against the
// memory that they lie in, alignment against what the search for an algorithm was told, an algorithm of another product,
// a workspace that is too small. What the workspace held is destroyed by every product that asked for one.
#include "standin.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_INITIALIZED = 1, ALLOC_FAILED = 3, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_16BF = 14, COMPUTE_32F = 68 };
enum { EPILOGUE_DEFAULT = 1, EPILOGUE_BIAS = 4, EPILOGUE_GELU = 32, EPILOGUE_GELU_BIAS = 36 };

// Objects are found in a list before anything in them is read: a stale pointer is never followed.
enum kind { HANDLE, DESC, LAYOUT, PREFERENCE };
static const char *const kinds[] = {
	"cublasLt handle", "cublasLt product descriptor", "cublasLt matrix layout", "cublasLt preference"};

struct object {
	enum kind kind;
	long number;
	struct object *next;
	// DESC
	int compute, scale, transposed[2], bias_type;
	unsigned epilogue;
	const void *bias;
	// LAYOUT
	int type;
	uint64_t rows, cols;
	int64_t ld;
	// PREFERENCE
	uint64_t workspace;
	uint32_t reduction, alignment[4];
};
static struct object *objects;

static struct object *find(const void *p, enum kind kind) {
	for (struct object *o = objects; o; o = o->next)
		if (o == p && o->kind == kind && standin_object_check(o->number, kinds[kind]))
			return o;
	standin_violation("%p is no living %s", p, kinds[kind]);
	return NULL;
}

static struct object *make(enum kind kind) {
	struct object *o = calloc(1, sizeof *o);
	if (!o)
		return NULL;
	o->kind = kind;
	o->number = standin_object_make(kinds[kind], kind == HANDLE);
	o->next = objects;
	return objects = o;
}

static int drop(const void *p, enum kind kind) {
	for (struct object **at = &objects; *at; at = &(*at)->next)
		if (*at == p && (*at)->kind == kind) {
			struct object *o = *at;
			int living = standin_object_drop(o->number, kinds[kind]);
			*at = o->next;
			free(o);
			return living ? SUCCESS : INVALID_VALUE;
		}
	standin_violation("%p is no living %s", p, kinds[kind]);
	return INVALID_VALUE;
}

STANDIN_API size_t cublasLtGetVersion(void) { return (size_t)standin_number("cublaslt"); }

static const struct {
	int code;
	const char *name, *text;
} statuses[] = {
	{0, "CUBLAS_STATUS_SUCCESS", "success"},
	{1, "CUBLAS_STATUS_NOT_INITIALIZED", "the library was not initialized"},
	{3, "CUBLAS_STATUS_ALLOC_FAILED", "the resource allocation failed"},
	{7, "CUBLAS_STATUS_INVALID_VALUE", "an unsupported value or parameter was passed to the function"},
	{8, "CUBLAS_STATUS_ARCH_MISMATCH", "the function requires an architectural feature absent from the device"},
	{11, "CUBLAS_STATUS_MAPPING_ERROR", "an access to GPU memory space failed"},
	{13, "CUBLAS_STATUS_EXECUTION_FAILED", "the function failed to launch on the GPU"},
	{14, "CUBLAS_STATUS_INTERNAL_ERROR", "an internal operation failed"},
	{15, "CUBLAS_STATUS_NOT_SUPPORTED", "the functionality requested is not supported"},
	{16, "CUBLAS_STATUS_LICENSE_ERROR", "an error was detected checking the license"},
};

STANDIN_API const char *cublasLtGetStatusName(int code) {
	for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
		if (statuses[i].code == code)
			return statuses[i].name;
	return "CUBLAS_STATUS_UNKNOWN";
}

STANDIN_API const char *cublasLtGetStatusString(int code) {
	for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
		if (statuses[i].code == code)
			return statuses[i].text;
	return "unknown error";
}

STANDIN_API int cublasLtCreate(void **out) {
	STANDIN_BEGIN(cublasLtCreate, STANDIN_CONTEXT | STANDIN_OTHER | STANDIN_UNSAFE);
	if (!out) {
		standin_violation("no place for the handle");
		STANDIN_END(INVALID_VALUE);
	}
	*out = make(HANDLE);
	STANDIN_END(*out ? SUCCESS : ALLOC_FAILED);
}

STANDIN_API int cublasLtDestroy(void *h) {
	STANDIN_BEGIN(cublasLtDestroy, STANDIN_PLAIN | STANDIN_OTHER | STANDIN_RELEASES);
	STANDIN_END(drop(h, HANDLE));
}

STANDIN_API int cublasLtMatmulDescCreate(void **out, int compute, int scale) {
	STANDIN_BEGIN(cublasLtMatmulDescCreate, STANDIN_PLAIN | STANDIN_OTHER);
	struct object *o = out ? make(DESC) : NULL;
	if (!o)
		STANDIN_END(out ? ALLOC_FAILED : INVALID_VALUE);
	o->compute = compute;
	o->scale = scale;
	o->epilogue = EPILOGUE_DEFAULT;
	o->bias_type = -1;
	*out = o;
	STANDIN_END(SUCCESS);
}

STANDIN_API int cublasLtMatmulDescDestroy(void *d) {
	STANDIN_BEGIN(cublasLtMatmulDescDestroy, STANDIN_PLAIN | STANDIN_OTHER | STANDIN_RELEASES);
	STANDIN_END(drop(d, DESC));
}

// set copies an attribute whose size must be the library's own.
static int set(void *to, size_t size, const void *from, size_t bytes, int attribute) {
	if (!from || bytes != size) {
		standin_violation("attribute %d from %p of %zu bytes, its size is %zu", attribute, from, bytes, size);
		return INVALID_VALUE;
	}
	memcpy(to, from, size);
	return SUCCESS;
}

STANDIN_API int cublasLtMatmulDescSetAttribute(void *d, int attribute, const void *from, size_t bytes) {
	STANDIN_BEGIN(cublasLtMatmulDescSetAttribute, STANDIN_PLAIN | STANDIN_OTHER);
	struct object *o = find(d, DESC);
	int code = INVALID_VALUE;
	if (o)
		switch (attribute) {
		case 3:
		case 4:
			code = set(&o->transposed[attribute - 3], 4, from, bytes, attribute);
			if (code == SUCCESS && o->transposed[attribute - 3] != 0 && o->transposed[attribute - 3] != 1) {
				standin_violation("transposition %d", o->transposed[attribute - 3]);
				code = INVALID_VALUE;
			}
			break;
		case 7:
			code = set(&o->epilogue, 4, from, bytes, attribute);
			break;
		case 8:
			code = set(&o->bias, 8, from, bytes, attribute);
			break;
		case 26:
			code = set(&o->bias_type, 4, from, bytes, attribute);
			break;
		default:
			standin_violation("attribute %d of a product is not known here", attribute);
		}
	STANDIN_END(code);
}

STANDIN_API int cublasLtMatrixLayoutCreate(void **out, int type, uint64_t rows, uint64_t cols, int64_t ld) {
	STANDIN_BEGIN(cublasLtMatrixLayoutCreate, STANDIN_PLAIN | STANDIN_OTHER);
	if (!out || (type != R_32F && type != R_16BF) || rows == 0 || cols == 0 || ld < (int64_t)rows) {
		standin_violation("layout of type %d, %llu rows, %llu columns, leading dimension %lld", type, (unsigned long long)rows,
			(unsigned long long)cols, (long long)ld);
		STANDIN_END(INVALID_VALUE);
	}
	struct object *o = make(LAYOUT);
	if (!o)
		STANDIN_END(ALLOC_FAILED);
	o->type = type;
	o->rows = rows;
	o->cols = cols;
	o->ld = ld;
	*out = o;
	STANDIN_END(SUCCESS);
}

STANDIN_API int cublasLtMatrixLayoutDestroy(void *l) {
	STANDIN_BEGIN(cublasLtMatrixLayoutDestroy, STANDIN_PLAIN | STANDIN_OTHER | STANDIN_RELEASES);
	STANDIN_END(drop(l, LAYOUT));
}

STANDIN_API int cublasLtMatmulPreferenceCreate(void **out) {
	STANDIN_BEGIN(cublasLtMatmulPreferenceCreate, STANDIN_PLAIN | STANDIN_OTHER);
	struct object *o = out ? make(PREFERENCE) : NULL;
	if (!o)
		STANDIN_END(out ? ALLOC_FAILED : INVALID_VALUE);
	for (int i = 0; i < 4; i++)
		o->alignment[i] = 256;
	o->reduction = ~0u;
	*out = o;
	STANDIN_END(SUCCESS);
}

STANDIN_API int cublasLtMatmulPreferenceDestroy(void *p) {
	STANDIN_BEGIN(cublasLtMatmulPreferenceDestroy, STANDIN_PLAIN | STANDIN_OTHER | STANDIN_RELEASES);
	STANDIN_END(drop(p, PREFERENCE));
}

STANDIN_API int cublasLtMatmulPreferenceSetAttribute(void *p, int attribute, const void *from, size_t bytes) {
	STANDIN_BEGIN(cublasLtMatmulPreferenceSetAttribute, STANDIN_PLAIN | STANDIN_OTHER);
	struct object *o = find(p, PREFERENCE);
	int code = INVALID_VALUE;
	if (o)
		switch (attribute) {
		case 1:
			code = set(&o->workspace, 8, from, bytes, attribute);
			break;
		case 3:
			code = set(&o->reduction, 4, from, bytes, attribute);
			break;
		case 5:
		case 6:
		case 7:
		case 8:
			code = set(&o->alignment[attribute - 5], 4, from, bytes, attribute);
			break;
		default:
			standin_violation("attribute %d of a preference is not known here", attribute);
		}
	STANDIN_END(code);
}

// product is what the descriptors of a call say, checked. Everything is column-major.
struct product {
	uint64_t m, n, k;
	int transposed[2], type[3], has_bias, gelu;
	int64_t ld[3];
	float alpha, beta;
	const char *a, *b, *bias;
	char *d;
	char *workspace;
	size_t workspace_bytes;
};

// describe fills p from descriptors; 0, or the code of what is wrong with them.
static int describe(struct product *p, void *h, void *desc, void *la, void *lb, void *lc, void *ld, struct object **used) {
	memset(p, 0, sizeof *p);
	struct object *o = find(desc, DESC), *a = find(la, LAYOUT), *b = find(lb, LAYOUT), *c = find(lc, LAYOUT), *d = find(ld, LAYOUT);
	if (!find(h, HANDLE) || !o || !a || !b || !c || !d)
		return INVALID_VALUE;
	p->m = o->transposed[0] ? a->cols : a->rows;
	p->k = o->transposed[0] ? a->rows : a->cols;
	p->n = o->transposed[1] ? b->rows : b->cols;
	if ((o->transposed[1] ? b->cols : b->rows) != p->k || d->rows != p->m || d->cols != p->n || c->rows != p->m || c->cols != p->n) {
		standin_violation("sizes of A, B, C and D do not fit: %llux%llu, %llux%llu, %llux%llu, %llux%llu", (unsigned long long)a->rows,
			(unsigned long long)a->cols, (unsigned long long)b->rows, (unsigned long long)b->cols, (unsigned long long)c->rows,
			(unsigned long long)c->cols, (unsigned long long)d->rows, (unsigned long long)d->cols);
		return INVALID_VALUE;
	}
	if (o->compute != COMPUTE_32F || o->scale != R_32F) {
		standin_violation("computes in %d with scales of type %d, not in float32", o->compute, o->scale);
		return NOT_SUPPORTED;
	}
	if (a->type != b->type || c->type != d->type || (a->type == R_32F && d->type != R_32F))
		return NOT_SUPPORTED;
	p->has_bias = o->epilogue == EPILOGUE_BIAS || o->epilogue == EPILOGUE_GELU_BIAS;
	p->gelu = o->epilogue == EPILOGUE_GELU || o->epilogue == EPILOGUE_GELU_BIAS;
	if (!p->has_bias && !p->gelu && o->epilogue != EPILOGUE_DEFAULT)
		return NOT_SUPPORTED;
	if (p->has_bias && o->bias_type != -1 && o->bias_type != d->type)
		return NOT_SUPPORTED;
	for (int i = 0; i < 2; i++)
		p->transposed[i] = o->transposed[i];
	p->type[0] = a->type;
	p->type[1] = b->type;
	p->type[2] = d->type;
	p->ld[0] = a->ld;
	p->ld[1] = b->ld;
	p->ld[2] = d->ld;
	p->bias = o->bias;
	struct object *const list[] = {o, a, b, c, d};
	memcpy(used, list, sizeof list);
	return SUCCESS;
}

static size_t width(int type) { return type == R_32F ? 4 : 2; }

static size_t span(const struct object *l) { return ((l->cols - 1) * (uint64_t)l->ld + l->rows) * width(l->type); }

// An algorithm as the search leaves it: which product it is for, and what it was promised.
struct algorithm {
	uint64_t magic, print, workspace;
	uint32_t alignment[4], bias_alignment;
	char rest[64 - 3 * 8 - 5 * 4];
};
_Static_assert(sizeof(struct algorithm) == 64, "cublasLtMatmulAlgo_t has 64 bytes");

struct result {
	struct algorithm algo;
	size_t workspace;
	int state;
	float waves;
	int reserved[4];
};
_Static_assert(sizeof(struct result) == 96, "cublasLtMatmulHeuristicResult_t has 96 bytes");

static uint64_t fingerprint(const struct product *p) {
	const uint64_t list[] = {p->m, p->n, p->k, p->transposed[0], p->transposed[1], p->type[0], p->type[1], p->type[2], p->has_bias, p->gelu,
		p->ld[0], p->ld[1], p->ld[2]};
	uint64_t h = 1469598103934665603u;
	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		h = (h ^ list[i]) * 1099511628211u;
	return h;
}

STANDIN_API int cublasLtMatmulAlgoGetHeuristic(void *h, void *desc, void *la, void *lb, void *lc, void *ld, void *preference, int asked,
	struct result *results, int *given) {
	STANDIN_BEGIN(cublasLtMatmulAlgoGetHeuristic, STANDIN_CONTEXT | STANDIN_OTHER);
	struct product p;
	struct object *used[5], *pref = find(preference, PREFERENCE);
	int code = describe(&p, h, desc, la, lb, lc, ld, used);
	if (code != SUCCESS)
		STANDIN_END(code);
	// The real library promises no algorithm for these, so that nobody may rely on one.
	if (p.has_bias && !standin_number("anybias") && (p.m == 1 || p.n == 1 || (uintptr_t)p.bias % 16)) {
		if (given)
			*given = 0;
		STANDIN_END(NOT_SUPPORTED);
	}
	if (!pref || asked < 1 || !results || !given) {
		standin_violation("asked for %d algorithms to %p, their number to %p", asked, (void *)results, (void *)given);
		STANDIN_END(INVALID_VALUE);
	}
	for (int i = 0; i < 4; i++) {
		uint32_t a = pref->alignment[i];
		if (a == 0 || (a & (a - 1)) || a < width(p.type[i < 2 ? i : 2])) {
			standin_violation("alignment %u of operand %d", a, i);
			STANDIN_END(INVALID_VALUE);
		}
	}
	if (pref->reduction & ~2u) {
		standin_violation("reduction schemes %#x let partial sums be rounded to the result's type or added in any order", pref->reduction);
		STANDIN_END(INVALID_VALUE);
	}
	// As the library may, the first result wants more workspace than there is, which its state says.
	uint64_t want = p.k < 64 ? 0 : (p.m * p.n * 4 + 255) / 256 * 256;
	if (want < (uint64_t)standin_number("workspace"))
		want = (uint64_t)standin_number("workspace");
	*given = 0;
	for (int i = 0; i < 2 && i < asked; i++) {
		struct result *r = &results[i];
		memset(r, 0, sizeof *r);
		uint64_t workspace = i == 0 ? want : 0;
		r->algo.magic = 0x6c74616c676f3176u;
		r->algo.print = fingerprint(&p);
		r->algo.workspace = workspace;
		for (int j = 0; j < 4; j++)
			r->algo.alignment[j] = pref->alignment[j];
		uintptr_t bias = (uintptr_t)p.bias;
		r->algo.bias_alignment = p.has_bias && bias ? (uint32_t)((bias & -bias) > 256 ? 256 : (bias & -bias)) : 256;
		r->workspace = workspace;
		r->state = workspace <= pref->workspace ? SUCCESS : NOT_SUPPORTED;
		r->waves = 1;
		(*given)++;
	}
	STANDIN_END(SUCCESS);
}

static float load(const char *p, int type, uint64_t i) {
	if (type == R_32F)
		return ((const float *)p)[i];
	uint32_t bits = (uint32_t)((const uint16_t *)p)[i] << 16;
	float x;
	memcpy(&x, &bits, 4);
	return x;
}

static void store(char *p, int type, uint64_t i, float x) {
	if (type == R_32F) {
		((float *)p)[i] = x;
		return;
	}
	uint32_t bits;
	memcpy(&bits, &x, 4);
	if (x != x)
		bits = 0x7fff0000;
	else
		bits += 0x7fff + (bits >> 16 & 1);
	((uint16_t *)p)[i] = (uint16_t)(bits >> 16);
}

static void multiply(void *arg) {
	struct product *p = arg;
	if (p->workspace)
		memset(p->workspace, 0xa5, p->workspace_bytes);
	double *row = malloc(p->k * sizeof *row);
	if (!row)
		abort();
	for (uint64_t i = 0; i < p->m; i++) {
		for (uint64_t k = 0; k < p->k; k++)
			row[k] = load(p->a, p->type[0], p->transposed[0] ? i * p->ld[0] + k : k * p->ld[0] + i);
		for (uint64_t j = 0; j < p->n; j++) {
			double sum = 0;
			for (uint64_t k = 0; k < p->k; k++)
				sum += row[k] * load(p->b, p->type[1], p->transposed[1] ? k * p->ld[1] + j : j * p->ld[1] + k);
			sum *= p->alpha;
			uint64_t at = j * p->ld[2] + i;
			if (p->beta != 0) // else what was there does not count, NaN included
				sum += (double)p->beta * load(p->d, p->type[2], at);
			if (p->has_bias)
				sum += load(p->bias, p->type[2], i);
			if (p->gelu)
				sum = 0.5 * sum * (1 + tanh(0.79788456080286535588 * (sum + 0.044715 * sum * sum * sum)));
			store(p->d, p->type[2], at, (float)sum);
		}
	}
	free(row);
}

static int overlap(const void *a, size_t an, const void *b, size_t bn) {
	return (const char *)a < (const char *)b + bn && (const char *)b < (const char *)a + an;
}

static int aligned(const void *p, uint32_t to, const char *what) {
	if ((uintptr_t)p % to == 0)
		return 1;
	standin_violation("%s at %p is not aligned to the %u bytes that the algorithm was looked for with", what, p, to);
	return 0;
}

STANDIN_API int cublasLtMatmul(void *h, void *desc, const float *alpha, const void *a, void *la, const void *b, void *lb, const float *beta,
	const void *c, void *lc, void *d, void *ld, const struct algorithm *algo, void *workspace, size_t workspace_bytes, void *stream) {
	STANDIN_BEGIN(cublasLtMatmul, STANDIN_CONTEXT | STANDIN_OTHER);
	struct product p;
	struct object *used[5];
	int code = describe(&p, h, desc, la, lb, lc, ld, used);
	if (code != SUCCESS)
		STANDIN_END(code);
	if (!alpha || !beta || !standin_check_stream(stream))
		STANDIN_END(INVALID_VALUE);
	p.alpha = *alpha;
	p.beta = *beta;
	p.a = a;
	p.b = b;
	p.d = d;
	if (c != d || lc != ld) {
		standin_violation("C and D differ, which nobody here has asked for");
		STANDIN_END(INVALID_VALUE);
	}
	size_t bytes[3] = {span(used[1]), span(used[2]), span(used[4])};
	int good = standin_check_range(a, bytes[0], "A") & standin_check_range(b, bytes[1], "B") & standin_check_range(d, bytes[2], "D");
	if (p.has_bias)
		good &= standin_check_range(p.bias, p.m * width(p.type[2]), "the bias");
	if (overlap(d, bytes[2], a, bytes[0]) || overlap(d, bytes[2], b, bytes[1])) {
		standin_violation("D overlaps A or B");
		good = 0;
	}
	if (!algo || algo->magic != 0x6c74616c676f3176u || algo->print != fingerprint(&p)) {
		standin_violation("the algorithm was found for another product");
		STANDIN_END(INVALID_VALUE);
	}
	good &= aligned(a, algo->alignment[0], "A") & aligned(b, algo->alignment[1], "B") & aligned(c, algo->alignment[2], "C") &
		aligned(d, algo->alignment[3], "D");
	if (p.has_bias)
		good &= aligned(p.bias, algo->bias_alignment, "the bias");
	if (workspace_bytes < algo->workspace) {
		standin_violation("%zu bytes of workspace, the algorithm needs %llu", workspace_bytes, (unsigned long long)algo->workspace);
		good = 0;
	}
	if (algo->workspace > 0) {
		good &= aligned(workspace, 256, "the workspace") & standin_check_range(workspace, workspace_bytes, "the workspace");
		if (overlap(workspace, workspace_bytes, a, bytes[0]) || overlap(workspace, workspace_bytes, b, bytes[1]) ||
			overlap(workspace, workspace_bytes, d, bytes[2])) {
			standin_violation("the workspace overlaps an operand");
			good = 0;
		}
		p.workspace = workspace;
		p.workspace_bytes = workspace_bytes;
	}
	if (!good)
		STANDIN_END(INVALID_VALUE);
	struct standin_range ranges[5] = {{a, bytes[0], "A"}, {b, bytes[1], "B"}, {d, bytes[2], "D"}};
	int count = 3;
	if (p.has_bias)
		ranges[count++] = (struct standin_range){p.bias, p.m * width(p.type[2]), "the bias"};
	if (p.workspace)
		ranges[count++] = (struct standin_range){workspace, workspace_bytes, "the workspace"};
	STANDIN_END(standin_enqueue(stream, "cublasLtMatmul", multiply, &p, sizeof p, ranges, count) == 0 ? SUCCESS : EXECUTION_FAILED);
}
