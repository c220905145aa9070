/** Resizing of images and other grids, with PyTorch's conventions: pixels are areas, whose centres lie at half integers. */
import { ConfigError, ShapeError, checkWord, refuseOthers } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { at, formatShape } from '../shape.ts'
import { perAxis } from './conv.ts'
import type { PerAxis } from './conv.ts'
import { indexSelect } from '../ops/indexing.ts'
import { expand, reshape, strideSlice } from '../ops/movement.ts'
import { floatType } from '../ops/operands.ts'
import { adaptiveAvgPool } from './pooling.ts'
import { cubicMatrix, linearMatrix, resampleAxis } from './resample.ts'

/** How many spatial axes each mode takes, if not any. */
export const spatialAxes = { nearest: undefined, area: undefined, linear: 1, bilinear: 2, trilinear: 3, bicubic: 2 } as const

export interface InterpolateOptions {
  /** Sizes of the spatial axes of the result. */
  readonly size?: PerAxis
  /** Factors by which they grow, instead: the result has ⌊size·scale⌋. */
  readonly scaleFactor?: PerAxis
  /** Default `nearest`. `bicubic` takes a = −0.75; `area` averages what each result covers. */
  readonly mode?: keyof typeof spatialAxes
  /** Whether the centres of the corner pixels, rather than their outer edges, fall on each other. Default false. */
  readonly alignCorners?: boolean
}

/**
 * `x` on another grid. x [N, C, …spatial] → [N, C, …size]: any number of spatial axes for `nearest` and `area`, one for
 * `linear`, two for `bilinear` and `bicubic`, three for `trilinear`. Nothing is filtered first: shrink with `area`.
 * Throws ConfigError unless exactly one of `size` and `scaleFactor` is given, ShapeError for too many or few axes, DTypeError
 * for integers.
 */
export function interpolate(x: TensorLike, { size, scaleFactor, mode = 'nearest', alignCorners = false, ...others }: InterpolateOptions): Tensor {
  refuseOthers('interpolate', others)
  floatType('interpolate', { input: x })
  const axes = x.shape.length - 2
  checkWord('interpolate', 'mode', mode, Object.keys(spatialAxes))
  const needed = spatialAxes[mode]
  if (axes < 1 || (needed ?? axes) !== axes) throw new ShapeError(`interpolate: mode ${mode} needs [N,C] and ${needed ?? 'some'} spatial axes, but the input is ${formatShape(x.shape)}; reshape it or use another mode`)
  const factors = typeof scaleFactor === 'number' ? new Array<number>(axes).fill(scaleFactor) : scaleFactor
  if ((size === undefined) === (factors === undefined)) throw new ConfigError(`interpolate: ${size === undefined ? 'neither size nor scaleFactor is' : 'both size and scaleFactor are'} given; pass one of them`)
  if (factors !== undefined && (factors.length !== axes || factors.some((f) => !(f > 0)))) throw new ConfigError(`interpolate: scaleFactor ${formatShape(factors)} is not one positive factor for each of ${axes} spatial axes; change it`)
  const sizes = perAxis('interpolate', 'size', size ?? x.shape.slice(2).map((d, i) => Math.floor(d * at(factors ?? [], i))), axes)
  if (mode === 'area') return adaptiveAvgPool(x, sizes)
  return sizes.reduceRight((y, to, i) => {
    const [axis, from] = [i + 2, at(x.shape, i + 2)]
    const factor = factors?.[i]
    const ratio = factor === undefined ? from / to : 1 / factor
    // Dividing last keeps whole numbers whole.
    if (mode === 'nearest') return nearestAxis(y, axis, to, ratio, (k) => Math.floor(factor === undefined ? (k * from) / to : k / factor))
    const step = to > 1 ? (from - 1) / (to - 1) : 0
    const place = (k: number): number => (alignCorners ? k * step : (k + 0.5) * ratio - 0.5)
    if (from === to && (alignCorners || ratio === 1)) return y
    return resampleAxis(y, axis, (mode === 'bicubic' ? cubicMatrix : linearMatrix)(from, to, place))
  }, x.read())
}

/** Result i is input `place(i)` = ⌊i·ratio⌋: by movement alone where the sizes divide. */
function nearestAxis(x: Tensor, axis: number, to: number, ratio: number, place: (i: number) => number): Tensor {
  const from = at(x.shape, axis)
  const resized = x.shape.map((d, i) => (i === axis ? to : d))
  if (ratio === from / to && to % from === 0) {
    const apart = reshape(x, x.shape.flatMap((d, i) => (i === axis ? [d, 1] : [d])))
    return reshape(expand(apart, x.shape.flatMap((d, i) => (i === axis ? [d, to / from] : [d]))), resized)
  }
  if (ratio === from / to && from % to === 0) return strideSlice(x, { start: x.shape.map(() => 0), size: resized, step: x.shape.map((_, i) => (i === axis ? from / to : 1)) })
  return indexSelect(x, Array.from({ length: to }, (_, i) => Math.min(place(i), from - 1)), axis)
}
