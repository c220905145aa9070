/**
 * Tensors that tests make up: few numbers that say what the values are and through which view they are read, so that
 * a failing case prints in one line and shrinks by its shape.
 */
import { tensor } from '../engine/create.ts'
import type { HostData } from '../engine/create.ts'
import type { Device } from '../engine/device/device.ts'
import { hostArray, isFloat } from '../engine/dtype.ts'
import type { DType, TypedArray } from '../engine/dtype.ts'
import type { Tensor } from '../engine/graph.ts'
import { expand, flip, permute, strideSlice } from '../engine/ops/movement.ts'
import { sizeOf } from '../engine/shape.ts'
import type { Shape } from '../engine/shape.ts'

/** How the values of a sample lie in the leaf behind it. */
export type View = 'plain' | 'permuted' | 'broadcast' | 'flipped' | 'strided'

export interface Sample {
  readonly shape: Shape
  readonly dtype: DType
  /** Values are even in [low, high]; integers include both ends. Default −1 to 1, integers 0 to 9. */
  readonly range?: readonly [low: number, high: number]
  readonly seed: number
  readonly view?: View
}

/** What checks take as an input: a sample, or values. Float values become whatever float type the check computes in. */
export type Input = Sample | HostData

/** A leaf, and what is made of it for the function to read. */
export interface Source {
  readonly leaf: Tensor
  readonly view: (leaf: Tensor) => Tensor
}

function mix(x: number): number {
  let h = x ^ (x >>> 16)
  h = Math.imul(h, 0x7feb352d)
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b)
  return (h ^ (h >>> 16)) >>> 0
}

/** The number `i` of stream `seed`, even in (0, 1). */
export function uniform(seed: number, i: number): number {
  return (mix((mix(seed >>> 0) + Math.imul(i, 0x9e3779b9)) | 0) + 0.5) / 2 ** 32
}

export function isSample(input: Input): input is Sample {
  return typeof input === 'object' && 'seed' in input
}

function baseShape({ shape, view = 'plain' }: Sample): Shape {
  switch (view) {
    case 'plain':
    case 'flipped':
      return shape
    case 'permuted':
      return shape.toReversed()
    case 'broadcast':
      return shape.map((d, i) => (i % 2 === 0 ? 1 : d))
    case 'strided':
      return shape.map((d) => 2 * d)
    default:
      return view satisfies never
  }
}

function viewed(leaf: Tensor, { shape, view = 'plain' }: Sample): Tensor {
  switch (view) {
    case 'plain':
      return leaf
    case 'permuted':
      return permute(leaf, shape.map((_, i) => shape.length - 1 - i))
    case 'broadcast':
      return expand(leaf, shape)
    case 'flipped':
      return flip(leaf, shape.map((_, i) => i))
    case 'strided':
      return strideSlice(leaf, { start: shape.map((d) => (d === 0 ? 0 : 1)), size: shape, step: shape.map(() => 2) })
    default:
      return view satisfies never
  }
}

function valuesOf(sample: Sample, dtype: DType): TypedArray {
  const values = hostArray(dtype, sizeOf(baseShape(sample)))
  const [low, high] = sample.range ?? (isFloat(dtype) ? [-1, 1] : [0, dtype === 'bool' ? 1 : 9])
  for (let i = 0; i < values.length; i++) {
    const u = uniform(sample.seed, i)
    // As f32, so that devices of every precision are given the same numbers.
    values[i] = isFloat(dtype) ? Math.fround(low + (high - low) * u) : Math.floor(low + (high + 1 - low) * u)
  }
  return values
}

/** `input` on a device, floats in the type `float` unless they are already narrower. */
export function sourceOf(input: Input, device: Device, float: 'f32' | 'f64'): Source {
  if (isSample(input)) {
    const dtype = input.dtype === 'f32' || input.dtype === 'f64' ? float : input.dtype
    return { leaf: tensor(valuesOf(input, dtype), baseShape(input), { dtype, device }), view: (leaf) => viewed(leaf, input) }
  }
  const plain = tensor(input, null, { device })
  return { leaf: plain.dtype === 'f32' && float === 'f64' ? tensor(input, null, { dtype: 'f64', device }) : plain, view: (leaf) => leaf }
}
