/** What the tests of the row kernels share: typed buffers, strided layouts, and runs whose bits may not depend on how the work is split. */
import fc from 'fast-check'
import { expect } from 'vitest'
import type { Strided } from '../../kernels/ir/descriptor.ts'
import type { StorageType } from '../../kernels/ir/expression.ts'
import type { WasmKernel, WasmTarget } from '../../kernels/wasm/core/kernel.ts'
import { runKernel } from './run.ts'

export type Values = Float32Array<ArrayBuffer> | Float16Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer>
export const target: WasmTarget = { relaxed: true }

/** Runs a kernel over buffers, inputs then outputs, in place. */
export type Run<Descriptor> = (descriptor: Descriptor, buffers: readonly Values[]) => void | Promise<void>

/** How inputs are rounded, and what that of results adds to a tolerance. */
export interface Precision {
  readonly round: (x: number) => number
  readonly tolerance: number
}
export const singles: Precision = { round: (x) => x, tolerance: 0 }
export const halves: Precision = { round: Math.f16round, tolerance: 2 ** -10 }

const bytesOf = (values: Values): Uint8Array => new Uint8Array(values.buffer, values.byteOffset, values.byteLength)

/** Runs the kernel over `buffers` (inputs, then outputs) in place: whole, then cut at random with buffers placed elsewhere; both must give the same bits. */
export function launch(kernel: WasmKernel, buffers: readonly Values[], seed = 1): void {
  const again = buffers.map((b) => b.slice())
  runKernel(kernel, buffers.map(bytesOf))
  const next = random(seed)
  const cuts = Array.from({ length: 3 }, () => Math.floor(next() * (kernel.items + 1))).sort((a, b) => a - b)
  runKernel(kernel, again.map(bytesOf), { cuts, first: Math.floor(next() * buffers.length) })
  again.forEach((b, i) => {
    const whole = buffers[i]
    if (whole !== undefined && Buffer.compare(bytesOf(b), bytesOf(whole)) !== 0) throw new Error(`buffer ${i} depends on the split of ${kernel.items} items at ${cuts.join()}`)
  })
}

/** Uniform numbers in [0, 1). */
export function random(seed: number): () => number {
  let state = (seed * 2654435761 + 12345) >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return ((state >>> 8) ^ (state & 0xff)) / 2 ** 24
  }
}

/** Values in [−2, 2). */
export function floats(n: number, seed: number, shift = 0): Float32Array<ArrayBuffer> {
  const next = random(seed)
  return Float32Array.from({ length: n }, () => 4 * next() - 2 + shift)
}

/** `n` elements of a storage type (bf16 as its bits). */
export function fill(dtype: StorageType, n: number, element: (i: number) => number): Values {
  const types = { f32: Float32Array, f16: Float16Array, i32: Int32Array, u32: Uint32Array, bf16: Uint16Array, u8: Uint8Array, bool: Uint8Array } as const
  const values = new types[dtype](n)
  for (let i = 0; i < n; i++) values[i] = element(i)
  return values
}

export type LayoutName = 'contiguous' | 'reversed' | 'padded' | 'swapped'
export const anyLayout: fc.Arbitrary<LayoutName> = fc.constantFrom('contiguous', 'reversed', 'padded', 'swapped')

/** A buffer length and strides for `shape`: axes outermost first, axis order reversed, rows padded, or the last two axes swapped. */
export function layout(shape: readonly number[], name: LayoutName): Strided & { size: number } {
  const axes = shape.map((_, i) => i)
  const swapped = [...axes.slice(-2), ...axes.slice(0, -2).toReversed()]
  const innermostFirst = name === 'reversed' ? axes : name === 'swapped' ? swapped : axes.toReversed()
  const strides = shape.map(() => 0)
  let step = 1
  for (const axis of innermostFirst) {
    strides[axis] = step
    step *= (shape[axis] ?? 1) + (name === 'padded' && step === 1 ? 3 : 0)
  }
  const offset = name === 'padded' ? 2 : 0
  return { strides, offset, size: shape.every((n) => n > 0) ? offset + 1 + shape.reduce((sum, n, i) => sum + (n - 1) * (strides[i] ?? 0), 0) : offset }
}

/** Every position of `shape`, in order. */
export function* positions(shape: readonly number[]): Generator<number[]> {
  const total = shape.reduce((a, b) => a * b, 1)
  for (let i = 0; i < total; i++) {
    let rest = i
    yield shape.map((_, k) => {
      const inner = shape.slice(k + 1).reduce((a, b) => a * b, 1)
      const p = Math.floor(rest / inner)
      rest %= inner
      return p
    })
  }
}

export const place = ({ strides, offset }: Strided, position: readonly number[]): number => position.reduce((at, p, k) => at + p * (strides[k] ?? 0), offset)
export const at = (values: ArrayLike<number>, strided: Strided, position: readonly number[]): number => values[place(strided, position)] ?? Number.NaN

/** |a − b| ≤ tolerance·(1 + |b|), or both NaN, or equal infinities. */
export function expectClose(actual: number, expected: number, tolerance: number, what: string): void {
  if (Object.is(actual, expected) || actual === expected || (Number.isNaN(actual) && Number.isNaN(expected))) return
  if (!(Math.abs(actual - expected) <= tolerance * (1 + Math.abs(expected)))) expect.fail(`${what}: ${actual} instead of ${expected}`)
}
