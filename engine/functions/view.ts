/** The same elements under other axes: compositions of reshaping, permuting and expanding, which the compiler folds away. */
import { ShapeError } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { at, formatShape, resolveAxes, resolveAxis, sizeOf } from '../shape.ts'
import { expand, permute, reshape } from '../ops/movement.ts'

/** `x` with two axes exchanged; by default the last two. */
export function transpose(x: TensorLike, a = -2, b = -1): Tensor {
  const [first, second] = [resolveAxis('transpose', a, x.shape), resolveAxis('transpose', b, x.shape)]
  return permute(x, x.shape.map((_, i) => (i === first ? second : i === second ? first : i)))
}

/** Without `axes`, which must have size 1; without any axis of size 1 if none are given. */
export function squeeze(x: TensorLike, axes?: number | readonly number[]): Tensor {
  const gone = axes === undefined ? x.shape.flatMap((d, i) => (d === 1 ? [i] : [])) : resolveAxes('squeeze', axes, x.shape)
  const wide = gone.find((i) => x.shape[i] !== 1)
  if (wide !== undefined) throw new ShapeError(`squeeze: axis ${wide} of ${formatShape(x.shape)} has size ${x.shape[wide]}, and only axes of size 1 can go; reduce or slice it first`)
  return reshape(x, x.shape.filter((_, i) => !gone.includes(i)))
}

/** With new axes of size 1, at the places `axes` have in the result. */
export function expandDims(x: TensorLike, axes: number | readonly number[]): Tensor {
  const list = typeof axes === 'number' ? [axes] : axes
  const rank = x.shape.length + list.length
  const places = resolveAxes('expandDims', list, new Array<number>(rank).fill(1))
  const shape = [...x.shape]
  for (const place of places) shape.splice(place, 0, 1)
  return reshape(x, shape)
}

/** Axes from `start` to `end` (both included; by default all) as one. */
export function flatten(x: TensorLike, start = 0, end = -1): Tensor {
  if (x.shape.length === 0) return reshape(x, [1])
  const [first, last] = [resolveAxis('flatten', start, x.shape), resolveAxis('flatten', end, x.shape)]
  if (first > last) throw new ShapeError(`flatten: axis ${start} comes after axis ${end} in ${formatShape(x.shape)}; exchange them`)
  return reshape(x, [...x.shape.slice(0, first), sizeOf(x.shape.slice(first, last + 1)), ...x.shape.slice(last + 1)])
}

/** One axis as several, whose product is its size; one of `sizes` may be −1. */
export function unflatten(x: TensorLike, axis: number, sizes: readonly number[]): Tensor {
  const along = resolveAxis('unflatten', axis, x.shape)
  const d = at(x.shape, along)
  const known = sizes.reduce((n, s) => (s === -1 ? n : n * s), 1)
  const full = sizes.map((s) => (s === -1 && known > 0 ? d / known : s))
  if (sizes.length === 0 || full.some((s) => !Number.isInteger(s) || s < 0) || sizeOf(full) !== d) {
    throw new ShapeError(`unflatten: axis ${axis} of ${formatShape(x.shape)} has size ${d}, which is not the product of ${formatShape(sizes)}; choose sizes that multiply to ${d}`)
  }
  return reshape(x, [...x.shape.slice(0, along), ...full, ...x.shape.slice(along + 1)])
}

/** `x` copied side by side, `counts` times on each axis, aligned at the back (NumPy's and PyTorch's tile). */
export function tile(x: TensorLike, counts: readonly number[]): Tensor {
  checkCounts('tile', counts, x)
  const rank = Math.max(counts.length, x.shape.length)
  const shape = [...new Array<number>(rank - x.shape.length).fill(1), ...x.shape]
  const times = [...new Array<number>(rank - counts.length).fill(1), ...counts]
  const spread = expand(reshape(x, shape.flatMap((d) => [1, d])), shape.flatMap((d, i) => [at(times, i), d]))
  return reshape(spread, shape.map((d, i) => d * at(times, i)))
}

/** Each element `count` times in a row along `axis` (PyTorch's repeat_interleave). */
export function repeatInterleave(x: TensorLike, count: number, axis: number): Tensor {
  checkCounts('repeatInterleave', [count], x)
  const along = resolveAxis('repeatInterleave', axis, x.shape)
  const [before, after] = [x.shape.slice(0, along), x.shape.slice(along + 1)]
  const d = at(x.shape, along)
  return reshape(expand(reshape(x, [...before, d, 1, ...after]), [...before, d, count, ...after]), [...before, d * count, ...after])
}

function checkCounts(op: string, counts: readonly number[], x: TensorLike): void {
  const wrong = counts.find((n) => !Number.isSafeInteger(n) || n < 0)
  if (wrong !== undefined) throw new ShapeError(`${op}: ${wrong} is not how often to repeat a tensor ${formatShape(x.shape)}; use integers of at least 0`)
}

/** [..., C·r², H, W] → [..., C, H·r, W·r]: channels become r × r blocks (Shi et al., arXiv:1609.05158). */
export function pixelShuffle(x: TensorLike, r: number): Tensor {
  const [lead, [c, h, w]] = image('pixelShuffle', x, r)
  if (c % (r * r) !== 0) throw new ShapeError(`pixelShuffle: ${c} channels of ${formatShape(x.shape)} are not a multiple of ${r}²; use a factor whose square divides the channels`)
  const blocks = reshape(x, [lead, c / r ** 2, r, r, h, w])
  return reshape(permute(blocks, [0, 1, 4, 2, 5, 3]), [...x.shape.slice(0, -3), c / r ** 2, h * r, w * r])
}

/** [..., C, H·r, W·r] → [..., C·r², H, W]: the inverse of `pixelShuffle`. */
export function pixelUnshuffle(x: TensorLike, r: number): Tensor {
  const [lead, [c, h, w]] = image('pixelUnshuffle', x, r)
  if (h % r !== 0 || w % r !== 0) throw new ShapeError(`pixelUnshuffle: height ${h} and width ${w} of ${formatShape(x.shape)} are not multiples of ${r}; pad or crop first`)
  const blocks = reshape(x, [lead, c, h / r, r, w / r, r])
  return reshape(permute(blocks, [0, 1, 3, 5, 2, 4]), [...x.shape.slice(0, -3), c * r ** 2, h / r, w / r])
}

function image(op: string, x: TensorLike, r: number): [number, [number, number, number]] {
  if (x.shape.length < 3) throw new ShapeError(`${op}: x has shape ${formatShape(x.shape)}, but images are [..., channels, height, width]; add axes with expandDims`)
  if (!Number.isInteger(r) || r < 1) throw new ShapeError(`${op}: factor ${r} is not a positive integer`)
  return [sizeOf(x.shape.slice(0, -3)), [at(x.shape, x.shape.length - 3), at(x.shape, x.shape.length - 2), at(x.shape, x.shape.length - 1)]]
}
