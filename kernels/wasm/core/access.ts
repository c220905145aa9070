/**
 * Loads and stores of every storage type as four 32-bit lanes.
 * A loaded lane holds the element widened to 32 bits; `widen` and `narrow` are chosen so that an
 * element has the same bits whether it travels in a vector or in a single lane.
 */
import type { ScalarType, StorageType } from '../../ir/expression.ts'
import { type Code, f32x4, i16x8, i32, i32x4, i8x16, v128 } from './assembler.ts'
import type { VectorScope } from './scope.ts'

/** What elements can be in memory here. */
export type MemoryType = Exclude<StorageType, 'f16'>

export function memoryType(dtype: StorageType): MemoryType {
  if (dtype === 'f16') throw new TypeError('WebAssembly has no f16: use f32')
  return dtype
}

/** log2 of the bytes of an element. */
export const sizeShift: Readonly<Record<StorageType, number>> = { f32: 2, f16: 1, i32: 2, u32: 2, bf16: 1, u8: 0, bool: 0 }

/** Four adjacent elements. */
export function loadVector(dtype: MemoryType, address: Code, offset: number): Code {
  switch (dtype) {
    case 'f32': case 'i32': case 'u32': return v128.load(address, offset)
    case 'bf16': return i32x4.shl(v128.load16x4u(address, offset), 16)
    case 'u8': case 'bool': return i32x4.extendLowI16u(i16x8.extendLowI8u(v128.load32Zero(address, offset)))
  }
}

/** Replaces one lane of `vector`, which must be zero there; a bf16 goes to the upper half of its lane. */
export function loadLane(dtype: MemoryType, address: Code, vector: Code, lane: number, offset = 0): Code {
  switch (dtype) {
    case 'f32': case 'i32': case 'u32': return v128.load32Lane(address, vector, lane, offset)
    case 'bf16': return v128.load16Lane(address, vector, 2 * lane + 1, offset)
    case 'u8': case 'bool': return v128.load8Lane(address, vector, 4 * lane, offset)
  }
}

/** One element in all four lanes. */
export function loadSplat(dtype: MemoryType, address: Code): Code {
  switch (dtype) {
    case 'f32': case 'i32': case 'u32': return v128.load32Splat(address)
    case 'bf16': return i32x4.shl(i32x4.splat(i32.load16u(address)), 16)
    case 'u8': case 'bool': return i32x4.splat(i32.load8u(address))
  }
}

/** Loaded lanes as values of `type`. */
export function widen(scope: VectorScope, dtype: MemoryType, type: ScalarType, lanes: Code): Code {
  if (type === 'bool') return i32x4.ne(lanes, scope.i32(0))
  return dtype === 'bool' ? v128.and(i32x4.ne(lanes, scope.i32(0)), scope.i32(1)) : lanes
}

/** Values of `type` as lanes ready to store. */
export function narrow(scope: VectorScope, dtype: MemoryType, type: ScalarType, value: Code): Code {
  if (dtype === 'bf16') return roundToBf16(scope, value)
  if (type === 'bool') return v128.and(value, scope.i32(1))
  if (dtype === 'bool') return v128.and(i32x4.ne(value, scope.i32(0)), scope.i32(1))
  return dtype === 'u8' ? v128.and(value, scope.i32(255)) : value
}

/** Rounds to nearest, ties to even; the upper 16 bits of each lane are the bf16. NaN stays NaN. */
function roundToBf16(scope: VectorScope, value: Code): Code {
  const x = scope.keep(value)
  const odd = v128.and(i32x4.shru(x, 16), scope.i32(1))
  const rounded = i32x4.add(i32x4.add(x, scope.i32(0x7fff)), odd)
  const quiet = v128.or(x, scope.i32(0x00400000))
  return v128.select(quiet, rounded, f32x4.ne(x, x))
}

/** Stores four adjacent elements of narrowed lanes. */
export function storeVector(scope: VectorScope, dtype: MemoryType, address: Code, lanes: Code, offset: number): Code {
  switch (dtype) {
    case 'f32': case 'i32': case 'u32': return v128.store(address, lanes, offset)
    case 'bf16': return v128.store64Lane(address, i16x8.narrowI32u(i32x4.shru(lanes, 16), scope.i32(0)), 0, offset)
    case 'u8': case 'bool': return v128.store32Lane(address, i8x16.narrowI16u(i16x8.narrowI32u(lanes, scope.i32(0)), scope.i32(0)), 0, offset)
  }
}

/** Stores one element of narrowed lanes. */
export function storeLane(dtype: MemoryType, address: Code, lanes: Code, lane: number, offset = 0): Code {
  switch (dtype) {
    case 'f32': case 'i32': case 'u32': return v128.store32Lane(address, lanes, lane, offset)
    case 'bf16': return v128.store16Lane(address, lanes, 2 * lane + 1, offset)
    case 'u8': case 'bool': return v128.store8Lane(address, lanes, 4 * lane, offset)
  }
}
