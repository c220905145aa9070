/**
 * What a network's output means, at x_t = a·x₀ + s·ε: the noise (Ho et al., arXiv:2006.11239), the clean image, or
 * v = a·ε − s·x₀ (Salimans and Ho, arXiv:2202.00512, appendix D). Each is a linear map of x₀ and ε, and with x_t known,
 * of either alone.
 */
import { checkWord } from '../engine/error.ts'
import { add, div, mul, sub } from '../engine/index.ts'
import type { Operand, Tensor, TensorLike } from '../engine/index.ts'

const predictions = ['eps', 'x0', 'v'] as const
export type Prediction = (typeof predictions)[number]

/** Throws ConfigError for another word, such as those of diffusers' schedulers. */
export function checkPrediction(op: string, prediction: Prediction): void {
  checkWord(op, 'prediction', prediction, predictions, " (diffusers' epsilon, sample and v_prediction)")
}

/** Factors of the clean image and of the noise: numbers, or tensors that broadcast over the images. */
export interface Level {
  readonly a: Operand
  readonly s: Operand
}

/** x_t = a·x₀ + s·ε. */
export function addNoise(x0: TensorLike, eps: TensorLike, { a, s }: Level): Tensor {
  return add(mul(a, x0), mul(s, eps))
}

/** What the network should say. */
export function targetOf(prediction: Prediction, x0: TensorLike, eps: TensorLike, { a, s }: Level): Tensor {
  checkPrediction('targetOf', prediction)
  switch (prediction) {
    case 'eps':
      return eps.read()
    case 'x0':
      return x0.read()
    case 'v':
      return sub(mul(a, eps), mul(s, x0))
    default:
      return prediction satisfies never
  }
}

/** The clean image from what the network says of x_t; from `eps` it does not exist where a = 0. */
export function cleanOf(prediction: Prediction, said: TensorLike, x: TensorLike, { a, s }: Level): Tensor {
  checkPrediction('cleanOf', prediction)
  switch (prediction) {
    case 'eps':
      return div(sub(x, mul(s, said)), a)
    case 'x0':
      return said.read()
    case 'v':
      return sub(mul(a, x), mul(s, said)) // a·x_t − s·v = (a² + s²)·x₀
    default:
      return prediction satisfies never
  }
}

/** The noise from what the network says of x_t; from `x0` it does not exist where s = 0. */
export function noiseOf(prediction: Prediction, said: TensorLike, x: TensorLike, { a, s }: Level): Tensor {
  checkPrediction('noiseOf', prediction)
  switch (prediction) {
    case 'eps':
      return said.read()
    case 'x0':
      return div(sub(x, mul(a, said)), s)
    case 'v':
      return add(mul(s, x), mul(a, said))
    default:
      return prediction satisfies never
  }
}
