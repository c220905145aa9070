/** The names of the primitives that are not elementwise: what a device must implement, each a row in its table. */
export type PrimitiveName =
  | 'reshape' | 'permute' | 'expand' | 'slice' | 'pad' | 'concat' | 'barrier'
  | 'iota'
  | 'sum' | 'max' | 'min' | 'prod'
  | 'matmul' | 'conv' | 'convInputGrad' | 'convWeightGrad'
  | 'gather' | 'scatterAdd' | 'cumsum' | 'argsort' | 'randomBits'
