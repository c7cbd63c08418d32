#!/usr/bin/env python3
"""Repairs a checkout of Bochs so that Linux runs AMX programs in it: bochs.py DIR, DIR the one with configure.

Made for commit 783b58fd6 (August 2026). Each repair names what was wrong by the manual (Intel SDM). A repair whose place is not
found ends the program: that Bochs is another one, look at it first. Repairs made before are left.
"""

import pathlib
import sys

XFD_REGISTERS = """
  extern Bit64u xfd_msr[64], xfd_err[64];
  if (index == BX_MSR_IA32_XFD) { %s }
  if (index == BX_MSR_IA32_XFD_ERROR) { %s }
"""

REPAIRS = [
    # XFD, extended feature disable. Linux offers tiles only to processors that have it: the first tile instruction of a
    # program must fault (#NM), so that the kernel gives memory for the state then.
    ("cpu/cpuid.cc", "      leaf->eax |= (1<<3);\n",
     "      leaf->eax |= (1<<3);\n    if (is_cpu_extension_supported(BX_ISA_AMX)) leaf->eax |= (1<<4);\n"),
    ("cpu/crregs.cc", "[xcr0_t::BX_XCR0_XTILEDATA_BIT].attr   = BX_XSAVE_ALIGN64;",
     "[xcr0_t::BX_XCR0_XTILEDATA_BIT].attr   = BX_XSAVE_ALIGN64 | BX_XSAVE_XFD_SUPPORT;"),
    ("cpu/msr.cc", "BX_CPU_C::rdmsr(Bit32u index, Bit64u *msr)\n{\n",
     "BX_CPU_C::rdmsr(Bit32u index, Bit64u *msr)\n{" + XFD_REGISTERS % (
         "*msr = xfd_msr[BX_CPU_ID]; return true;", "*msr = xfd_err[BX_CPU_ID]; return true;")),
    ("cpu/msr.cc", "BX_CPU_C::wrmsr(Bit32u index, Bit64u val_64)\n{\n",
     "BX_CPU_C::wrmsr(Bit32u index, Bit64u val_64)\n{" + XFD_REGISTERS % (
         "xfd_msr[BX_CPU_ID] = val_64; handleAvxModeChange(); return true;", "xfd_err[BX_CPU_ID] = val_64; return true;")),
    ("cpu/proc_ctrl.cc", "void BX_CPU_C::handleAvxModeChange(void)\n",
     "Bit64u xfd_msr[64], xfd_err[64];\n\nvoid BX_CPU_C::handleAvxModeChange(void)\n"),
    ("cpu/proc_ctrl.cc", "#if BX_SUPPORT_AMX\n  if (! long64_mode()",
     "#if BX_SUPPORT_AMX\n  if ((xfd_msr[BX_CPU_ID] >> 18 & 1) || ! long64_mode()"),
    ("cpu/proc_ctrl.cc", "BX_XCR0_XTILEDATA_MASK))\n    exception(BX_UD_EXCEPTION, 0);\n",
     "BX_XCR0_XTILEDATA_MASK))\n    exception(BX_UD_EXCEPTION, 0);\n"
     "  if (xfd_msr[BX_CPU_ID] >> 18 & 1) { xfd_err[BX_CPU_ID] = 1 << 18; exception(BX_NM_EXCEPTION, 0); }\n"),
    # XSAVE of the tiles' shapes had rows and bytes a row exchanged, so that a change of context lost the tiles.
    ("cpu/xsave.cc", "tilecfg.vmm16u(8+n)    = BX_CPU_THIS_PTR amx->tilecfg[n].rows;",
     "tilecfg.vmm16u(8+n)    = BX_CPU_THIS_PTR amx->tilecfg[n].bytes_per_row;"),
    ("cpu/xsave.cc", "tilecfg.vmmubyte(48+n) = BX_CPU_THIS_PTR amx->tilecfg[n].bytes_per_row;",
     "tilecfg.vmmubyte(48+n) = BX_CPU_THIS_PTR amx->tilecfg[n].rows;"),
    # It saved and restored 8 of the 16 rows of a tile, and took tiles in use for unused ones.
    ("cpu/xsave.cc", "for (unsigned row=0; row < BX_TILE_REGISTERS; row++)", "for (unsigned row=0; row < BX_TILE_MAX_ROWS; row++)"),
    ("cpu/xsave.cc", "(BX_CPU_THIS_PTR amx->tile_use_tracker == 0);", "(BX_CPU_THIS_PTR amx->tile_use_tracker != 0);"),
    # VCVTNE2PS2BF16 read the upper half of its results behind its first source.
    ("cpu/avx/avx512_bf16.cc", "dst.vmm16u(n) = convert_ne_fp32_to_bfloat16(op1.vmm32u(n));",
     "dst.vmm16u(n) = convert_ne_fp32_to_bfloat16(op1.vmm32u(n - DWORD_ELEMENTS(len)));"),
]


def main():
    if len(sys.argv) != 2 or not (root := pathlib.Path(sys.argv[1])).joinpath("cpu/avx/amx.cc").exists():
        sys.exit("usage: bochs.py DIR, the folder of a checkout of Bochs that holds configure")
    for name, old, new in REPAIRS:
        path = root / name
        text = path.read_text(encoding="latin-1")  # bytes as they are: the sources are not all UTF-8
        if new in text:
            continue
        if old not in text:
            sys.exit(f"{path}: {old.strip()!r} is not there: this is another Bochs than the repairs were made for")
        path.write_text(text.replace(old, new), encoding="latin-1")


if __name__ == "__main__":
    main()
