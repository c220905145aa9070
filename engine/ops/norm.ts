/** Layer normalisation (Ba et al., arXiv:1607.06450) and RMS normalisation (Zhang and Sennrich, arXiv:1910.07467). */
import { ShapeError } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { formatShape, sameShape, sizeOf } from '../shape.ts'
import type { Shape } from '../shape.ts'
import { add, cast, div, literal, mul, sub } from './elementwise.ts'
import { sqrt } from './math.ts'
import { sumKeep } from './movement.ts'
import { floatType, statisticsType } from './operands.ts'

/** The last axes of x, which must have the sizes `shape`, as parameters must. */
function normalizedAxes(op: string, x: TensorLike, shape: Shape, parameters: Readonly<Record<string, TensorLike | undefined>>): number[] {
  const lead = x.shape.length - shape.length
  if (shape.length === 0 || lead < 0 || !sameShape(x.shape.slice(lead), shape)) {
    throw new ShapeError(`${op}: input ${formatShape(x.shape)} does not end in the normalised shape ${formatShape(shape)}; pass the sizes of its last axes`)
  }
  for (const [name, p] of Object.entries(parameters)) {
    if (p !== undefined && !sameShape(p.shape, shape)) throw new ShapeError(`${op}: ${name} is ${formatShape(p.shape)} but the normalised shape is ${formatShape(shape)}; make them equal`)
  }
  return shape.map((_, i) => lead + i)
}

export interface LayerNormOptions {
  /** Added under the root. */
  readonly epsilon?: number
}

/**
 * y = (x − μ) / √(σ² + epsilon) · weight + bias, with mean μ and biased variance σ² over the last axes, whose sizes are
 * `shape`. weight and bias have that shape or are absent; the result has the shape of x. epsilon defaults to 1e-5.
 * Throws ShapeError for axes or parameters that do not fit, DTypeError for integers.
 */
export function layerNorm(x: TensorLike, shape: Shape, weight?: TensorLike, bias?: TensorLike, { epsilon = 1e-5 }: LayerNormOptions = {}): Tensor {
  const dtype = floatType('layerNorm', { input: x, weight, bias })
  const wide = cast(x, statisticsType(dtype))
  const axes = normalizedAxes('layerNorm', x, shape, { weight, bias })
  const count = literal(sizeOf(shape))
  const centred = sub(wide, div(sumKeep(wide, axes), count))
  const variance = div(sumKeep(mul(centred, centred), axes), count)
  const y = div(centred, sqrt(add(variance, literal(epsilon))))
  const scaled = weight === undefined ? y : mul(y, weight)
  return cast(bias === undefined ? scaled : add(scaled, bias), dtype)
}

/**
 * y = x / √(⟨x²⟩ + epsilon) · weight, with the mean square over the last axes, whose sizes are `shape`; weight has that
 * shape or is absent. epsilon defaults to 1e-6. Errors as layerNorm.
 */
export function rmsNorm(x: TensorLike, shape: Shape, weight?: TensorLike, { epsilon = 1e-6 }: LayerNormOptions = {}): Tensor {
  const dtype = floatType('rmsNorm', { input: x, weight })
  const wide = cast(x, statisticsType(dtype))
  const axes = normalizedAxes('rmsNorm', x, shape, { weight })
  const square = div(sumKeep(mul(wide, wide), axes), literal(sizeOf(shape)))
  const y = div(wide, sqrt(add(square, literal(epsilon))))
  return cast(weight === undefined ? y : mul(y, weight), dtype)
}
