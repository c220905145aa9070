/** Arbitraries for fast-check: awkward shapes, tensors read through views, and pairs that broadcast. */
import * as fc from 'fast-check'
import type { DType } from '../engine/dtype.ts'
import { sizeOf } from '../engine/shape.ts'
import type { Shape } from '../engine/shape.ts'
import type { Sample, View } from './samples.ts'

/** Sizes around the widths of vectors, workgroups and tiles, with the ends 0 and 1. */
export const awkwardSizes: readonly number[] = [0, 1, 2, 3, 4, 5, 7, 8, 31, 32, 33]
/** More than a tile of anything, and prime to all of them. */
export const longSize = 4099

export interface ShapeOptions {
  /** Default 0 to 3. */
  readonly rank?: readonly [least: number, most: number]
  /** Sizes an axis may have; default the awkward ones. */
  readonly sizes?: readonly number[]
  /** Elements at most. Default 5000. */
  readonly elements?: number
}

/** Shapes of awkward sizes; now and then without elements, or with one long axis. */
export function shapes({ rank: [least, most] = [0, 3], sizes = awkwardSizes, elements = 5000 }: ShapeOptions = {}): fc.Arbitrary<Shape> {
  // Left to itself fast-check prefers few axes, and any axis of 0 leaves nothing to check.
  const ranks = Array.from({ length: most + 1 - least }, (_, i) => new Array<number>(least + i + 1).fill(least + i)).flat()
  const size = fc.constantFrom(...sizes.filter((d) => d > 0))
  const full = fc.constantFrom(...ranks).chain((rank) => fc.array(size, { minLength: rank, maxLength: rank })).filter((shape) => sizeOf(shape) <= elements)
  const empty = fc.tuple(full, fc.nat()).map(([shape, at]) => shape.map((d, i) => (i === at % shape.length ? 0 : d)))
  const long = fc.constantFrom<Shape>([longSize], [longSize, 1], [1, longSize]).filter((shape) => shape.length >= least && shape.length <= most)
  const hasLong = elements >= longSize && sizes === awkwardSizes && most > 0 && least < 3
  return fc.oneof(
    { weight: 10, arbitrary: full },
    ...(sizes.includes(0) ? [{ weight: 1, arbitrary: empty }] : []),
    ...(hasLong ? [{ weight: 1, arbitrary: long }] : []),
  )
}

export interface SampleOptions {
  /** Default f32. */
  readonly dtype?: DType
  readonly range?: readonly [low: number, high: number]
  /** Default: all of them. */
  readonly views?: readonly View[]
}

const allViews: readonly View[] = ['plain', 'permuted', 'broadcast', 'flipped', 'strided']

/** A tensor of one shape. */
export function sample(shape: Shape, { dtype = 'f32', range, views = allViews }: SampleOptions = {}): fc.Arbitrary<Sample> {
  const base = { shape, dtype, ...(range === undefined ? {} : { range }) }
  return fc.record({ seed: fc.nat(999), view: fc.constantFrom(...views) }).map((drawn) => ({ ...base, ...drawn }))
}

/** A tensor of any awkward shape. */
export function tensors({ dtype, range, views, ...shape }: ShapeOptions & SampleOptions = {}): fc.Arbitrary<Sample> {
  return shapes(shape).chain((s) => sample(s, { ...(dtype && { dtype }), ...(range && { range }), ...(views && { views }) }))
}

/** Two shapes that broadcast: axes of one are missing or 1 where the other's are not. */
export function broadcastablePairs(options: ShapeOptions = {}): fc.Arbitrary<readonly [Shape, Shape]> {
  return shapes(options).chain((shape) => {
    const thinned = fc.tuple(fc.array(fc.boolean(), { minLength: shape.length, maxLength: shape.length }), fc.nat(shape.length)).map(([ones, drop]) => shape.map((d, i) => (ones[i] === true ? 1 : d)).slice(drop))
    return fc.tuple(thinned, fc.boolean()).map(([thin, swap]): readonly [Shape, Shape] => (swap ? [thin, shape] : [shape, thin]))
  })
}
