/**
 * Views: where the elements of a value lie in a buffer. Movement ops turn a view into another without touching memory;
 * a reshape that strides cannot express has no view, and the caller copies.
 */
import type { Movement } from '../op.ts'
import { at, contiguousStrides, sameShape } from '../shape.ts'
import type { Shape } from '../shape.ts'

export type Range = readonly [lo: number, hi: number]

export interface View {
  readonly shape: Shape
  /** In elements; 0 repeats, negative runs backwards. */
  readonly strides: readonly number[]
  readonly offset: number
  /** Elements outside lo ≤ i < hi on any axis are zero. Absent: all are in memory. */
  readonly mask: readonly Range[] | undefined
}

/** The whole of a buffer whose axes lie in memory from slowest to fastest in `order` (default row-major). */
export function bufferView(shape: Shape, order: readonly number[] = shape.map((_, i) => i)): View {
  const packed = contiguousStrides(order.map((axis) => at(shape, axis)))
  return { shape, strides: shape.map((_, axis) => at(packed, order.indexOf(axis))), offset: 0, mask: undefined }
}

/** Axes from slowest to fastest in memory: by falling stride, axes that do not matter last come as they stand. */
export function memoryOrder(view: View): number[] {
  const rank = (axis: number): number => Math.abs(at(view.strides, axis))
  return view.shape.map((_, i) => i).sort((x, y) => rank(y) - rank(x) || x - y)
}

/** The memory order with each repeated axis right behind the axis before it. */
export function repeatedBeside(view: View): number[] {
  const lead = view.shape.map((_, i) => i)
  for (let i = 1; i < lead.length; i++) if (at(view.strides, i) === 0 && at(view.shape, i) > 1) lead[i] = at(lead, i - 1)
  const rank = memoryOrder(view)
  return view.shape.map((_, i) => i).sort((x, y) => rank.indexOf(at(lead, x)) - rank.indexOf(at(lead, y)) || x - y)
}

function withMask(view: Omit<View, 'mask'>, mask: readonly Range[] | undefined): View {
  const needed = mask?.some(([lo, hi], i) => lo > 0 || hi < at(view.shape, i)) === true
  return { ...view, mask: needed ? mask?.map(([lo, hi], i): Range => [Math.max(0, lo), Math.min(at(view.shape, i), hi)]) : undefined }
}

const fullMask = (view: View): readonly Range[] => view.mask ?? view.shape.map((d): Range => [0, d])

export function permuteView(view: View, axes: readonly number[]): View {
  const pick = <T>(list: readonly T[]): T[] => axes.map((a) => at(list, a))
  return { shape: pick(view.shape), strides: pick(view.strides), offset: view.offset, mask: view.mask === undefined ? undefined : pick(view.mask) }
}

export function expandView(view: View, shape: Shape): View {
  const stretched = shape.map((d, i) => d !== at(view.shape, i))
  const mask = view.mask?.map(([lo, hi], i): Range => (at(stretched, i) ? (lo <= 0 && hi > 0 ? [0, at(shape, i)] : [0, 0]) : [lo, hi]))
  return withMask({ shape, strides: view.strides.map((s, i) => (at(stretched, i) ? 0 : s)), offset: view.offset }, mask)
}

export function sliceView(view: View, start: readonly number[], size: Shape, step: readonly number[]): View {
  const offset = view.strides.reduce((o, s, i) => o + s * at(start, i), view.offset)
  const mask = view.mask?.map(([lo, hi], i): Range => {
    const from = at(start, i)
    const by = at(step, i)
    // lo ≤ from + by·j < hi, solved for j.
    return by > 0 ? [Math.ceil((lo - from) / by), Math.ceil((hi - from) / by)] : [Math.floor((from - hi) / -by) + 1, Math.floor((from - lo) / -by) + 1]
  })
  return withMask({ shape: size, strides: view.strides.map((s, i) => s * at(step, i)), offset }, mask)
}

/** Zeros around, none between. */
export function padView(view: View, low: readonly number[], high: readonly number[]): View {
  const shape = view.shape.map((d, i) => d + at(low, i) + at(high, i))
  const mask = fullMask(view).map(([lo, hi], i): Range => [lo + at(low, i), hi + at(low, i)])
  return withMask({ shape, strides: view.strides, offset: view.strides.reduce((o, s, i) => o - s * at(low, i), view.offset) }, mask)
}

/** The same elements under another shape, if strides can say so. */
export function reshapeView(view: View, shape: Shape): View | undefined {
  if (sameShape(view.shape, shape)) return view
  if (shape.includes(0)) return bufferView(shape)
  // Groups of axes of equal size on both sides, matched from the front; axes of size 1 join the group before them.
  const strides = new Array<number>(shape.length).fill(0)
  const mask = shape.map((d): Range => [0, d])
  let i = 0
  let j = 0
  while (i < view.shape.length || j < shape.length) {
    const from = i
    const to = j
    let left = view.shape[i++] ?? 1
    let right = shape[j++] ?? 1
    while (left !== right) {
      if (left < right) left *= at(view.shape, i++)
      else right *= at(shape, j++)
    }
    while (view.shape[i] === 1) i++
    while (shape[j] === 1) j++
    const own = range(from, Math.min(i, view.shape.length))
    if (!matchGroup(view, own, shape, range(to, Math.min(j, shape.length)), strides, mask)) return undefined
  }
  return withMask({ shape, strides, offset: view.offset }, mask)
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, k) => from + k)

function matchGroup(view: View, own: readonly number[], shape: Shape, target: readonly number[], strides: number[], mask: Range[]): boolean {
  const axes = own.filter((a) => at(view.shape, a) !== 1)
  const wanted = target.filter((a) => at(shape, a) !== 1)
  const masked = fullMask(view).map(([lo, hi], a) => lo > 0 || hi < at(view.shape, a))
  // A masked axis of size 1 is all zeros or nothing; keep it simple and copy.
  if (own.some((a) => at(masked, a) && at(view.shape, a) === 1)) return false
  if (axes.length === 1 && wanted.length === 1) {
    strides[at(wanted, 0)] = at(view.strides, at(axes, 0))
    mask[at(wanted, 0)] = at(fullMask(view), at(axes, 0))
    return true
  }
  if (axes.some((a) => at(masked, a))) return false
  // Merge the group to one axis, which needs each stride to be the next one's times its size, then split it.
  for (let k = 0; k + 1 < axes.length; k++) {
    const next = at(axes, k + 1)
    if (at(view.strides, at(axes, k)) !== at(view.strides, next) * at(view.shape, next)) return splitInParts(view, axes, shape, wanted, strides)
  }
  let stride = axes.length === 0 ? 0 : at(view.strides, at(axes, axes.length - 1))
  for (const a of wanted.toReversed()) {
    strides[a] = stride
    stride *= at(shape, a)
  }
  return true
}

/** Axes that do not merge as a whole may still regroup in parts whose sizes agree from the back. */
function splitInParts(view: View, axes: readonly number[], shape: Shape, wanted: readonly number[], strides: number[]): boolean {
  let w = wanted.length - 1
  let k = axes.length - 1
  while (k >= 0) {
    // One run of axes that lie evenly in memory.
    const stride = at(view.strides, at(axes, k))
    let size = at(view.shape, at(axes, k))
    while (k > 0 && at(view.strides, at(axes, k - 1)) === stride * size) size *= at(view.shape, at(axes, --k))
    k--
    let filled = 1
    while (filled < size) {
      if (w < 0) return false
      const axis = at(wanted, w--)
      if (size % (filled * at(shape, axis)) !== 0) return false
      strides[axis] = stride * filled
      filled *= at(shape, axis)
    }
  }
  return w < 0
}

/** Whether the view fills memory without gaps or a mask, its axes from slowest to fastest in `order`; it may start anywhere. */
export function isPacked(view: View, order: readonly number[]): boolean {
  const { strides } = bufferView(view.shape, order)
  return view.mask === undefined && view.strides.every((s, i) => at(view.shape, i) === 1 || s === at(strides, i))
}

export function sameView(x: View, y: View): boolean {
  return x.offset === y.offset && sameShape(x.shape, y.shape) && x.strides.every((s, i) => at(x.shape, i) <= 1 || s === at(y.strides, i)) && JSON.stringify(x.mask) === JSON.stringify(y.mask)
}

/** The view after a movement; undefined where strides cannot express it. */
export function moveView(view: View, m: Movement): View | undefined {
  switch (m.op) {
    case 'reshape':
      return reshapeView(view, m.shape)
    case 'permute':
      return permuteView(view, m.axes)
    case 'expand':
      return expandView(view, m.shape)
    case 'slice':
      return sliceView(view, m.start, m.size, m.step)
    case 'pad':
      return padView(view, m.low, m.high)
    default:
      return m satisfies never
  }
}
