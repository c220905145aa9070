/** Random strided operands for kernel tests, and float64 views of them. */
import type { Strided } from '../../kernels/ir/descriptor.ts'
import type { WasmKernel } from '../../kernels/wasm/core/kernel.ts'
import { runKernel } from './run.ts'

/** A small deterministic generator (mulberry32): uniform on [0, 1). */
function random(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** How one operand lies in memory. */
export interface Layout {
  /** Axes from the outermost in memory to the innermost; a permutation. */
  readonly order: readonly number[]
  /** Axes that run backwards. */
  readonly flipped?: readonly number[]
  /** Axes of stride 0. */
  readonly broadcast?: readonly number[]
  /** Elements between neighbours of the innermost axis. */
  readonly spacing?: number
  /** Unused elements at the front. */
  readonly front?: number
}

export interface Placed extends Strided {
  readonly size: number
}

/** Strides of an operand of `shape` laid out as `layout` says, and how many elements its buffer has. */
export function place(shape: readonly number[], layout: Layout): Placed {
  const strides = shape.map(() => 0)
  let step = layout.spacing ?? 1
  let offset = layout.front ?? 0
  let extent = 1
  for (const axis of layout.order.toReversed()) {
    const size = shape[axis] ?? 1
    if (layout.broadcast?.includes(axis) === true) continue
    const backwards = layout.flipped?.includes(axis) === true
    strides[axis] = backwards ? -step : step
    if (backwards) offset += step * Math.max(0, size - 1)
    extent += step * Math.max(0, size - 1)
    step *= Math.max(1, size)
  }
  const empty = shape.includes(0)
  return { strides, offset, size: (layout.front ?? 0) + (empty ? 0 : extent) }
}

export function address(at: Strided, position: readonly number[]): number {
  return position.reduce((sum, p, axis) => sum + p * (at.strides[axis] ?? 0), at.offset)
}

export function normals(count: number, seed: number): Float32Array<ArrayBuffer> {
  const next = random(seed)
  return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()))
}

const bytesOf = (values: Float32Array): Uint8Array => new Uint8Array(values.buffer, values.byteOffset, values.byteLength)

interface Outcome {
  readonly out: Float32Array
  /** Elements of the output buffer, by number, that hold what they held before. */
  readonly untouched: (element: number) => boolean
}

/** Runs `kernel` cut at `cuts` on copies of `inputs` and an output of `size` elements that starts as a pattern. */
export function launch(kernel: WasmKernel, inputs: readonly Float32Array[], size: number, cuts: readonly number[] = [], first = 0): Outcome {
  const out = new Float32Array(size).fill(-12345.5)
  runKernel(kernel, [...inputs.map(bytesOf), bytesOf(out)], { cuts, first })
  return { out, untouched: (element) => out[element] === -12345.5 }
}

/** Every position of `shape`, row by row. */
export function* positions(shape: readonly number[]): Generator<number[]> {
  if (shape.includes(0)) return
  const at = shape.map(() => 0)
  for (;;) {
    yield [...at]
    let axis = shape.length - 1
    for (; axis >= 0; axis--) {
      const next = (at[axis] ?? 0) + 1
      if (next < (shape[axis] ?? 0)) {
        at[axis] = next
        break
      }
      at[axis] = 0
    }
    if (axis < 0) return
  }
}
