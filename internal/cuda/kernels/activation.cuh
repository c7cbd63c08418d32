// The activations of kernel.Activation and their derivatives, in float32. Each is within a few roundings of its largest
// term; derivatives avoid 1 - tanh^2 and s*(1 - s), which cancel, by way of e = exp(-|x|).
#pragma once

#include "common.cuh"

enum { actLinear, actGelu, actGeluNew, actQuickGelu, actRelu, actSilu, actTanh, actMish, actSigmoid };

// Sigmoid is 1/(1 + exp(-x)) and its derivative.
struct Sigmoid {
	float value, slope;
};

INLINE Sigmoid sigmoid(float x) {
	float e = expf(-fabsf(x)), r = 1.0f / (1.0f + e);
	Sigmoid s = {x >= 0 ? r : e * r, e * r * r};
	return s;
}

// Hyperbolic is tanh and 1 - tanh^2 of x, for derivatives: tanh is exact to an absolute 2^-23, not to a relative one.
struct Hyperbolic {
	float tanh, rest;
};

INLINE Hyperbolic hyperbolic(float x) {
	float e = expf(-2.0f * fabsf(x)), r = 1.0f / (1.0f + e);
	Hyperbolic h = {copysignf((1.0f - e) * r, x), 4.0f * e * r * r};
	return h;
}

INLINE float normal(float x) { return 0.5f * (1.0f + erff(x * 0.70710678118654752f)); }
INLINE float newArgument(float x) { return 0.79788456080286536f * fmaf(0.044715f * x * x, x, x); }
INLINE float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

INLINE float gelu(float x) { return x * normal(x); }
INLINE float geluSlope(float x) { return fmaf(x * 0.39894228040143268f, expf(-0.5f * x * x), normal(x)); }

// other is every activation but the identity and gelu.
INLINE float other(int act, float x) {
	switch (act) {
	case actGeluNew: return x * fmaf(0.5f, tanhf(newArgument(x)), 0.5f);
	case actQuickGelu: return x * sigmoid(1.702f * x).value;
	case actRelu: return x > 0 ? x : x == x ? 0.0f : x; // NaN stays
	case actSilu: return x * sigmoid(x).value;
	case actTanh: return tanhf(x);
	case actMish: return x * tanhf(softplus(x));
	}
	return sigmoid(x).value;
}

// otherSlope is its derivative.
INLINE float otherSlope(int act, float x) {
	Sigmoid s;
	Hyperbolic h;
	switch (act) {
	case actGeluNew:
		h = hyperbolic(newArgument(x));
		// Where the rest is 0 the square may be infinite; 0*x keeps NaN for an infinite x.
		return 0.5f + 0.5f * h.tanh +
			0.5f * x * (h.rest == 0 ? 0.0f : h.rest * 0.79788456080286536f * fmaf(0.134145f * x, x, 1.0f));
	case actQuickGelu: s = sigmoid(1.702f * x); return fmaf(x, 1.702f * s.slope, s.value);
	case actRelu: return x > 0 ? 1.0f : x == x ? 0.0f : x;
	case actSilu: s = sigmoid(x); return fmaf(x, s.slope, s.value);
	case actTanh: return hyperbolic(x).rest;
	case actMish: h = hyperbolic(softplus(x)); return fmaf(x * h.rest, sigmoid(x).value, h.tanh);
	}
	return sigmoid(x).slope;
}

// rotate drops the first of eight values and puts y behind the last.
INLINE void rotate(float (&v)[8], float y) {
#pragma unroll
	for (int i = 0; i < 7; i++) v[i] = v[i + 1];
	v[7] = y;
}

// activate replaces eight values by their activations. Gelu, which the encoders have, is written out eight times. The
// others stand there once: the values take turns in one register, because a register has no index.
INLINE void activate(int act, float (&v)[8]) {
	if (act == actLinear) return;
	if (act == actGelu) {
#pragma unroll
		for (int i = 0; i < 8; i++) v[i] = gelu(v[i]);
		return;
	}
#pragma unroll 1
	for (int i = 0; i < 8; i++) rotate(v, other(act, v[0]));
}

// activateGrad multiplies eight gradients by the derivatives at x.
INLINE void activateGrad(int act, float (&d)[8], float (&x)[8]) {
	if (act == actLinear) return;
	if (act == actGelu) {
#pragma unroll
		for (int i = 0; i < 8; i++) d[i] = __fmul_rn(d[i], geluSlope(x[i]));
		return;
	}
#pragma unroll 1
	for (int i = 0; i < 8; i++) {
		rotate(d, __fmul_rn(d[0], otherSlope(act, x[0])));
		rotate(x, 0.0f);
	}
}
