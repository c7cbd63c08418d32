// Instructions that Go's assembler does not know, as bytes. Tiles and registers are numbers; TestMacros compares every
// macro with bytes written by hand and with an independent decoder.

#include "textflag.h"

// General registers that may stand in an address: those that need no prefix bit. SP is none of them, BP has a form of its
// own.
#define rAX 0
#define rCX 1
#define rDX 2
#define rBX 3
#define rSI 6
#define rDI 7

// LDTILECFG (base)
#define LDTILECFG(base) BYTE $0xC4; BYTE $0xE2; BYTE $0x78; BYTE $0x49; BYTE $(base)
#define TILERELEASE BYTE $0xC4; BYTE $0xE2; BYTE $0x78; BYTE $0x49; BYTE $0xC0
#define TILEZERO(t) BYTE $0xC4; BYTE $0xE2; BYTE $0x7B; BYTE $0x49; BYTE $(0xC0|((t)<<3))

// Rows of tile t stand at disp(base), index bytes apart. TILELOADDT1 says that the lines will not be used again soon.
#define TILELOADD(t, base, index, disp) BYTE $0xC4; BYTE $0xE2; BYTE $0x7B; BYTE $0x4B; BYTE $(0x84|((t)<<3)); BYTE $(((index)<<3)|(base)); LONG $(disp)
#define TILELOADDT1(t, base, index, disp) BYTE $0xC4; BYTE $0xE2; BYTE $0x79; BYTE $0x4B; BYTE $(0x84|((t)<<3)); BYTE $(((index)<<3)|(base)); LONG $(disp)
#define TILESTORED(t, base, index, disp) BYTE $0xC4; BYTE $0xE2; BYTE $0x7A; BYTE $0x4B; BYTE $(0x84|((t)<<3)); BYTE $(((index)<<3)|(base)); LONG $(disp)

// TDPBF16PS adds the product of tiles a and b to tile c.
#define TDPBF16PS(c, a, b) BYTE $0xC4; BYTE $0xE2; BYTE $(((15-(b))<<3)|2); BYTE $0x5C; BYTE $(0xC0|((c)<<3)|(a))

// VCVTNE2PS2BF16 rounds 32 float32 to Z(dst), dst < 32: the lower half from Z(low), low < 8, the upper from Z(high), high < 16.
#define VCVTNE2PS2BF16(dst, high, low) BYTE $0x62; BYTE $(0xF2-((((dst)>>3)&1)<<7)-((((dst)>>4)&1)<<4)); BYTE $(0x07|((15-(high))<<3)); BYTE $0x48; BYTE $0x72; BYTE $(0xC0|(((dst)&7)<<3)|(low))
