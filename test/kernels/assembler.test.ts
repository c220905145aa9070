import { describe, expect, test } from 'vitest'
import { type Code, f32, f32x4, FunctionBuilder, i16x8, i32, i32x4, i64, i64x2, i8x16, loopRange, select, set, signed, tee, unsigned, v128, when } from '../../kernels/wasm/core/assembler.ts'
import { instantiate } from './run.ts'

/** Runs `code` with one parameter, a base address, over memory that starts with `input`. */
function run(input: ArrayBufferView, code: (base: Code, f: FunctionBuilder) => Code): DataView {
  const f = new FunctionBuilder(['i32'])
  const [base] = f.parameters
  if (base === undefined) throw new Error('no parameter')
  f.emit(code(base, f))
  const { memory, call } = instantiate(new Map([['f', f]]))
  new Uint8Array(memory).set(new Uint8Array(input.buffer, input.byteOffset, input.byteLength))
  call('f', 0)
  return new DataView(memory)
}

const floats = (view: DataView, at: number, n = 4): number[] => Array.from({ length: n }, (_, i) => view.getFloat32(at + 4 * i, true))
const ints = (view: DataView, at: number, n = 4): number[] => Array.from({ length: n }, (_, i) => view.getInt32(at + 4 * i, true))

describe('LEB128', () => {
  test.each([[0, [0]], [127, [127]], [128, [128, 1]], [624485, [0xe5, 0x8e, 0x26]], [0xffffffff, [255, 255, 255, 255, 15]]])('unsigned %i', (value, bytes) => expect(unsigned(value)).toEqual(bytes))
  test.each([[0, [0]], [-1, [127]], [63, [63]], [64, [192, 0]], [-64, [64]], [-65, [191, 127]], [-123456, [0xc0, 0xbb, 0x78]], [-2147483648, [128, 128, 128, 128, 120]]])('signed %i', (value, bytes) => expect(signed(value)).toEqual(bytes))
})

const x = [1.5, -2.5, 0, -Infinity]
const y = [-0.5, 3.5, -0, 2]
const floatCases: Record<string, [(a: Code, b: Code) => Code, (a: number, b: number) => number]> = {
  add: [f32x4.add, (a, b) => a + b], sub: [f32x4.sub, (a, b) => a - b], mul: [f32x4.mul, (a, b) => a * b], div: [f32x4.div, (a, b) => Math.fround(a / b)],
  min: [f32x4.min, Math.min], max: [f32x4.max, Math.max], pmin: [f32x4.pmin, (a, b) => (b < a ? b : a)], pmax: [f32x4.pmax, (a, b) => (a < b ? b : a)],
  abs: [(a) => f32x4.abs(a), Math.abs], neg: [(a) => f32x4.neg(a), (a) => -a], sqrt: [(a) => f32x4.sqrt(a), (a) => Math.fround(Math.sqrt(a))],
  ceil: [(a) => f32x4.ceil(a), Math.ceil], floor: [(a) => f32x4.floor(a), Math.floor], trunc: [(a) => f32x4.trunc(a), Math.trunc], nearest: [(a) => f32x4.nearest(a), (a) => (a === 1.5 ? 2 : a === -2.5 ? -2 : a)],
  splat: [(a) => f32x4.splat(f32x4.extract(a, 1)), () => -2.5], replace: [(a) => f32x4.replace(a, 2, f32.const(7)), (a) => (a === 0 ? 7 : a)],
  andnot: [(a, b) => v128.andnot(a, f32x4.eq(b, b)), () => 0], select: [(a, b) => v128.select(a, b, f32x4.lt(a, b)), Math.min],
  constant: [() => v128.splatF32(0.25), () => 0.25], convert: [() => f32x4.convertI32(i32x4.splat(-3)), () => -3], convertU: [() => f32x4.convertI32u(i32x4.splat(-1)), () => 4294967296],
}
test.each(Object.entries(floatCases))('f32x4 %s', (_, [op, expected]) => {
  const view = run(new Float32Array([...x, ...y]), (base) => v128.store(base, op(v128.load(base), v128.load(base, 16)), 32))
  expect(floats(view, 32)).toEqual(x.map((a, i) => expected(a, y[i] ?? 0)))
})

test('relaxed madd is x·y + z', () => {
  const view = run(new Float32Array([1, 2, 3, 4]), (base) => v128.store(base, f32x4.relaxedMadd(v128.load(base), v128.load(base), v128.splatF32(0.5)), 32))
  expect(floats(view, 32)).toEqual([1.5, 4.5, 9.5, 16.5])
})

const p = [5, -7, 2147483647, -2147483648]
const q = [3, 9, -1, 1]
const u = (a: number): number => a >>> 0
const mask = (b: boolean): number => (b ? -1 : 0)
const intCases: Record<string, [(a: Code, b: Code) => Code, (a: number, b: number) => number]> = {
  add: [i32x4.add, (a, b) => (a + b) | 0], sub: [i32x4.sub, (a, b) => (a - b) | 0], mul: [i32x4.mul, Math.imul],
  min: [i32x4.min, Math.min], max: [i32x4.max, Math.max], minu: [i32x4.minu, (a, b) => Math.min(u(a), u(b)) | 0], maxu: [i32x4.maxu, (a, b) => Math.max(u(a), u(b)) | 0],
  eq: [i32x4.eq, (a, b) => mask(a === b)], ne: [i32x4.ne, (a, b) => mask(a !== b)],
  lt: [i32x4.lt, (a, b) => mask(a < b)], le: [i32x4.le, (a, b) => mask(a <= b)], ltu: [i32x4.ltu, (a, b) => mask(u(a) < u(b))], leu: [i32x4.leu, (a, b) => mask(u(a) <= u(b))],
  abs: [(a) => i32x4.abs(a), (a) => Math.abs(a) | 0], neg: [(a) => i32x4.neg(a), (a) => -a | 0],
  shl: [(a) => i32x4.shl(a, 3), (a) => a << 3], shr: [(a) => i32x4.shr(a, 3), (a) => a >> 3], shru: [(a) => i32x4.shru(a, 3), (a) => (a >>> 3) | 0],
  and: [v128.and, (a, b) => a & b], or: [v128.or, (a, b) => a | b], xor: [v128.xor, (a, b) => a ^ b], not: [(a) => v128.not(a), (a) => ~a],
  extract: [(a) => i32x4.splat(i32x4.extract(a, 2)), () => 2147483647], replace: [(a) => i32x4.replace(a, 0, i32.const(-9)), (a) => (a === 5 ? -9 : a)],
  trunc: [(a) => i32x4.truncSatF32(f32x4.convertI32(a)), (a) => a], truncU: [(a) => i32x4.truncSatF32u(f32x4.convertI32(a)), (a) => (a < 0 ? 0 : a === 2147483647 ? -2147483648 : a)],
  anyTrue: [(a) => i32x4.splat(v128.anyTrue(v128.xor(a, a))), () => 0],
  bytes: [() => v128.const([1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]), () => 1],
}
test.each(Object.entries(intCases))('i32x4 %s', (_, [op, expected]) => {
  const view = run(new Int32Array([...p, ...q]), (base) => v128.store(base, op(v128.load(base), v128.load(base, 16)), 32))
  expect(ints(view, 32)).toEqual(p.map((a, i) => expected(a, q[i] ?? 0)))
})

test('narrow and extend', () => {
  const view = run(new Int32Array([1, 70000, -3, 255]), (base) => [
    v128.store(base, i8x16.narrowI16u(i16x8.narrowI32u(v128.load(base), v128.load(base)), v128.splatF32(0)), 16),
    v128.store(base, i32x4.extendLowI16u(i16x8.extendLowI8u(v128.load(base, 16))), 32),
    v128.store(base, i64x2.add(i64x2.mul(i64x2.splat([0x42, 3]), i64x2.splat([0x42, 5])), i64x2.splat([0x42, 1])), 48),
    v128.store(base, i64x2.shru(i64x2.shl(v128.load(base), 4), 36), 64),
  ])
  // 70000 saturates to 65535 in 16 bits, which is −1 as signed input of the next narrowing.
  expect([...new Uint8Array(view.buffer, 16, 4)]).toEqual([1, 0, 0, 255])
  expect(ints(view, 32)).toEqual([1, 0, 0, 255])
  expect(view.getBigUint64(56, true)).toBe(16n)
  expect(ints(view, 64)).toEqual([70000, 0, 255, 0])
})

test('loads and stores of lanes, splats and zero extension', () => {
  const view = run(new Int32Array([1, 2, 3, 4, 0x01020304]), (base, f) => {
    const v = f.local('v128')
    return [
      v128.store(base, v128.load32Splat(base, 4), 32), v128.store(base, v128.load32Zero(base, 8), 48), v128.store(base, v128.load64Zero(base), 64),
      set(v, v128.load(base)), set(v, v128.load32Lane(base, v, 3, 16)), set(v, v128.load16Lane(base, v, 0, 16)), set(v, v128.load8Lane(base, v, 4, 16)),
      v128.store(base, tee(v, v), 96), v128.store32Lane(base, v, 3, 112), v128.store16Lane(base, v, 6, 116), v128.store8Lane(base, v, 12, 118), v128.store64Lane(base, v, 1, 120),
    ]
  })
  expect(ints(view, 32)).toEqual([2, 2, 2, 2])
  expect(ints(view, 48)).toEqual([3, 0, 0, 0])
  expect(ints(view, 64)).toEqual([1, 2, 0, 0])
  expect(ints(view, 96)).toEqual([0x0304, 4, 3, 0x01020304])
  expect(ints(view, 112)).toEqual([0x01020304, 0x00040304, 3, 0x01020304])
})

test('scalars, branches and loops', () => {
  const view = run(new Int32Array([-7, 2]), (base, f) => {
    const i = f.local('i32')
    const sum = f.local('i32')
    const a = i32.load(base)
    const b = i32.load(base, 4)
    const scalars: Code[] = [
      i32.div(a, b), i32.rem(a, b), i32.divu(a, b), i32.remu(a, b), i32.shr(a, b), i32.shru(a, b), i32.shl(a, b), i32.mul(a, b),
      i32.eqz(a), i32.lt(a, b), i32.ltu(a, b), i32.gt(a, b), i32.le(a, b), i32.leu(a, b), i32.ge(a, b), i32.geu(a, b), i32.eq(a, b), i32.ne(a, b),
      i32.and(a, b), i32.or(a, b), i32.xor(a, b), i32.sub(a, b), select(a, b, i32.const(1)), select(a, b, i32.const(0)),
      i32.reinterpretF32(f32.const(1)), i32.wrapI64(i64.shru(i64.mul(i64.extendU(a), i64.extendU(b)), [0x42, 32])), i32.load8u(base), i32.load16u(base), i32.reinterpretF32(f32.reinterpretI32(a)), f32.ne(1, 2),
    ]
    return [
      scalars.map((code, n) => i32.store(base, code, 64 + 4 * n)),
      loopRange(i, 0, 10, 3, set(sum, i32.add(sum, i))),
      when(i32.eq(sum, 18), i32.store(base, 1, 16), i32.store(base, 2, 16)),
      when(i32.eq(sum, 0), i32.store(base, 1, 20), i32.store(base, 2, 20)),
      i32.store8(base, 0x1ff, 24), i32.store16(base, 0x1ffff, 28), i64.store(base, i64.and(i64.load(base), [0x42, 3]), 32), f32.store(base, f32.max(1.5, f32.neg(f32.const(2))), 40),
    ]
  })
  expect(ints(view, 64, 30)).toEqual([-3, -1, 2147483644, 1, -2, 1073741822, -28, -14, 0, 1, 0, 0, 1, 0, 0, 1, 0, 1, 0, -5, -5, -9, -7, 2, 0x3f800000, 1, 249, 65529, -7, 1])
  expect(ints(view, 16)).toEqual([1, 2, 255, 65535])
  expect(view.getBigUint64(32, true)).toBe(1n)
  expect(view.getFloat32(40, true)).toBe(1.5)
})

test('a number is a constant of the type of its place', () => {
  const view = run(new Int32Array(1), (base, f) => {
    const [i, x, v] = [f.local('i32'), f.local('f32'), f.local('v128')]
    return [set(i, -3), set(x, 0.5), set(v, 2), i32.store(base, i, 16), f32.store(base, f32.add(x, 1), 20), v128.store(base, v, 32)]
  })
  expect([view.getInt32(16, true), view.getFloat32(20, true)]).toEqual([-3, 1.5])
  expect(floats(view, 32)).toEqual([2, 2, 2, 2])
  expect(() => set(new FunctionBuilder([]).local('i64'), 1)).toThrow('assembler: no constants of i64 here')
})
