/** Indexing, scans, sorting and random bits on the reference device. */
import { philoxStream } from '../../../kernels/ir/philox.ts'
import { DeviceError } from '../../error.ts'
import { at, formatShape, sizeOf } from '../../shape.ts'
import { element, indexIn, pair, positions } from './kernel.ts'
import type { Kernel } from './kernel.ts'
import { fill, zeros } from './values.ts'
import type { Held } from './values.ts'

function checkIndex(op: string, index: number, size: number, { spec }: Held): number {
  if (index < 0 || index >= size) throw new DeviceError(`${op}: index ${index} is outside the ${size} elements of the axis (${formatShape(spec.shape)}); use indices from 0 to ${size - 1}`)
  return index
}

const gather: Kernel<{ axis: number }> = (inputs, { axis }, output) => {
  const [x, index] = pair(inputs)
  const from = indexIn(x.spec.shape)
  const out = zeros(output.dtype, sizeOf(output.shape))
  let i = 0
  for (const position of positions(output.shape)) {
    const place = checkIndex('gather', element(index.values, i), at(x.spec.shape, axis), x)
    out[i++] = element(x.values, from(position.map((p, a) => (a === axis ? place : p))))
  }
  return out
}

const scatterAdd: Kernel<{ axis: number }> = (inputs, { axis }, output) => {
  const [x, index, updates] = [at(inputs, 0), at(inputs, 1), at(inputs, 2)]
  const to = indexIn(x.spec.shape)
  const sums = Float64Array.from(x.values)
  let i = 0
  for (const position of positions(index.spec.shape)) {
    const place = checkIndex('scatterAdd', element(index.values, i), at(x.spec.shape, axis), x)
    const target = to(position.map((p, a) => (a === axis ? place : p)))
    sums[target] = at(sums, target) + element(updates.values, i++)
  }
  return fill(output, (j) => at(sums, j))
}

/** The elements of the line through row-major position `i` along `axis`: its first position and the stride. */
function lineOf({ spec }: Held, axis: number): { length: number; stride: number; readonly place: (i: number) => number } {
  const stride = sizeOf(spec.shape.slice(axis + 1))
  const length = at(spec.shape, axis)
  return { length, stride, place: (i) => Math.floor(i / stride) % length }
}

const cumsum: Kernel<{ axis: number; reverse: boolean }> = (inputs, { axis, reverse }, output) => {
  const x = at(inputs, 0)
  const { length, stride, place } = lineOf(x, axis)
  return fill(output, (i) => {
    const [from, to] = reverse ? [place(i), length] : [0, place(i) + 1]
    let sum = 0
    for (let p = from; p < to; p++) sum += element(x.values, i + (p - place(i)) * stride)
    return sum
  })
}

/** Stable both ways; NaN comes last both ways. */
const argsort: Kernel<{ axis: number; descending: boolean }> = (inputs, { axis, descending }, output) => {
  const x = at(inputs, 0)
  const { length, stride, place } = lineOf(x, axis)
  const out = zeros(output.dtype, sizeOf(output.shape))
  for (let i = 0; i < out.length; i++) {
    if (place(i) !== 0) continue
    const key = (p: number): number => element(x.values, i + p * stride)
    const order = Array.from({ length }, (_, p) => p).sort((p, q) => compare(key(p), key(q), descending) || p - q)
    order.forEach((p, rank) => (out[i + rank * stride] = p))
  }
  return out
}

function compare(x: number, y: number, descending: boolean): number {
  // NaN counts as the greatest.
  if (Number.isNaN(x) || Number.isNaN(y)) return (Number(Number.isNaN(x)) - Number(Number.isNaN(y))) * (descending ? -1 : 1)
  return descending ? Number(y > x) - Number(y < x) : Number(x > y) - Number(x < y)
}

/** A stream of words for each row of key and counter, [rows, 2], low word first. */
const randomBits: Kernel<{ length: number }> = (inputs, { length }, { shape }) => {
  const [key, counter] = pair(inputs)
  const out = new Uint32Array(sizeOf(shape))
  const words = ({ values }: Held, row: number): readonly [number, number] => [element(values, 2 * row), element(values, 2 * row + 1)]
  for (let row = 0; row < at(shape, 0); row++) philoxStream(words(key, row), words(counter, row), out.subarray(row * length, (row + 1) * length))
  return out
}

export const indexingKernels: Readonly<Record<'gather' | 'scatterAdd' | 'cumsum' | 'argsort' | 'randomBits', Kernel>> = { gather, scatterAdd, cumsum, argsort, randomBits }
