/** `langevin/testing`: checks of gradients and devices for ops and models of one's own. Needs `fast-check`. */
export { awkwardSizes, broadcastablePairs, longSize, sample, shapes, tensors } from './arbitraries.ts'
export type { SampleOptions, ShapeOptions } from './arbitraries.ts'
export { checkAgainstReference } from './compare.ts'
export type { CompareOptions } from './compare.ts'
export { checkGradients } from './gradients.ts'
export type { DirectionalDerivative, GradientOptions, TensorFunction } from './gradients.ts'
export type { Input, Sample, View } from './samples.ts'
export { tolerance } from './tolerance.ts'
