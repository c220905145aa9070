/**
 * What the generated kernels compute, as plain data: a domain of positions, operands addressed by
 * strides over that domain, and expressions. The compiler writes these, the generators read them.
 */
import type { Expression, StorageType } from './expression.ts'

/** A strided, possibly masked window on a buffer, addressed over a kernel's domain. */
export interface Operand {
  readonly dtype: StorageType
  /** In elements, one per domain axis: may be 0 (broadcast) or negative (flip). */
  readonly strides: readonly number[]
  /** In elements, from the start of the buffer to the position (0, …, 0) of the domain. */
  readonly offset: number
  /** Positions outside lo ≤ p < hi on any axis read as zero (padding). One pair per axis; absent: no mask. Inputs only. */
  readonly mask?: readonly (readonly [lo: number, hi: number])[]
}

export interface Output {
  readonly operand: Operand
  readonly value: Expression
}

/** out[p] = value(inputs at p) for every position p of the domain `shape`. */
export interface MapDescriptor {
  readonly shape: readonly number[]
  readonly inputs: readonly Operand[]
  readonly outputs: readonly Output[]
}

export type ReduceOp = 'sum' | 'max' | 'min' | 'prod'

/**
 * For every position of `shape`: fold `element` over all positions of `reduced`, then write the
 * outputs, whose values may use `accumulator` and load operands (at reduced position 0).
 * Operand strides and `index` axes run over [...shape, ...reduced]; output strides over `shape`.
 * The order of additions depends on the shapes alone. An empty fold gives the identity.
 */
export interface ReduceDescriptor {
  readonly shape: readonly number[]
  readonly reduced: readonly number[]
  readonly op: ReduceOp
  readonly inputs: readonly Operand[]
  readonly element: Expression
  readonly outputs: readonly Output[]
  /** Cuts the fold into parts: each is written by itself, `stride` elements of an output after the one before. */
  readonly parts?: { readonly count: number; readonly stride: number }
}

/**
 * What becomes of every element of a product as it is stored: `value`, an f32, reads the element as its `accumulator`
 * and the inputs at the element's position. Strides are those of the output's axes; masks are not looked at.
 */
export interface Epilogue {
  readonly inputs: readonly Operand[]
  readonly value: Expression
  /** Of each input, which buffer it lies in: those with equal numbers share one. Default: none do. */
  readonly buffers?: readonly number[]
}

/** Strides in elements of the dimensions a kernel names, and the offset of the first element. */
export interface Strided {
  readonly strides: readonly number[]
  readonly offset: number
}

export interface MatmulDescriptor {
  readonly batch: readonly number[]
  readonly m: number
  readonly k: number
  readonly n: number
  /** Strides of every operand: batch axes, then row, then column. */
  readonly a: Strided
  readonly b: Strided
  readonly out: Strided
  /** One of the operands lies in panels, as the kernel that packed it says. */
  readonly packed?: boolean
}

/**
 * A cross-correlation y = x ⋆ w of 1, 2 or 3 spatial dimensions: output position p meets tap t at
 * input position p·stride + t·dilation − padding, and reads zero outside. Padding on the high side
 * follows from the output size. The same shape describes both gradients.
 */
export interface ConvDescriptor {
  readonly batch: number
  readonly inChannels: number
  readonly outChannels: number
  readonly groups: number
  readonly input: readonly number[]
  readonly kernel: readonly number[]
  readonly output: readonly number[]
  readonly stride: readonly number[]
  /** Zeros before the first position of each dimension. */
  readonly padding: readonly number[]
  readonly dilation: readonly number[]
  /** Strides: image, channel, then the spatial dimensions. */
  readonly x: Strided
  /** Strides: output channel, input channel of the group, then the spatial dimensions. */
  readonly w: Strided
  readonly y: Strided
}

export interface AttentionDescriptor extends AttentionSizes {
  readonly out: Strided
}

export interface AttentionGradDescriptor extends AttentionSizes {
  /** Strides of [...batch, position, component]. */
  readonly out: Strided
  readonly dout: Strided
  readonly dq: Strided
  readonly dk: Strided
  readonly dv: Strided
}

export interface GroupNormSizes {
  readonly batch: number
  readonly channels: number
  readonly groups: number
  /** Positions in a channel: height times width. */
  readonly spatial: number
}

export interface GroupNormDescriptor extends GroupNormSizes {
  /** Strides of [sample, channel, position]. */
  readonly x: Strided
  readonly y: Strided
  readonly eps: number
  readonly silu: boolean
}

export interface GroupNormGradDescriptor extends GroupNormSizes {
  /** Strides of [sample, channel, position]. */
  readonly dy: Strided
  readonly x: Strided
  readonly dx: Strided
  readonly silu: boolean
}

export interface LayerNormSizes {
  readonly rows: number
  readonly length: number
  readonly centred: boolean
}

export interface LayerNormDescriptor extends LayerNormSizes {
  /** Strides of [row, element]. */
  readonly x: Strided
  readonly y: Strided
  readonly eps: number
}

export interface LayerNormGradDescriptor extends LayerNormSizes {
  /** Strides of [row, element]. */
  readonly dy: Strided
  readonly x: Strided
  readonly dx: Strided
}

export interface SoftmaxDescriptor {
  readonly rows: number
  readonly length: number
  /** Strides of [row, element]. */
  readonly x: Strided
  readonly y: Strided
}

export interface SoftmaxGradDescriptor {
  readonly rows: number
  readonly length: number
  /** Strides of [row, element]. */
  readonly y: Strided
  readonly dy: Strided
  readonly dx: Strided
}

export interface GatherDescriptor {
  /** Shape of index and out. */
  readonly shape: readonly number[]
  readonly axis: number
  /** Size of x along the axis. */
  readonly extent: number
  /** Strides over `shape`; along the axis x's stride applies to the index. */
  readonly x: Strided
  readonly index: Strided
  readonly out: Strided
  readonly dtype: StorageType
}

export interface ScatterAddDescriptor {
  /** Shape of index and src; x and y differ along the axis only. */
  readonly shape: readonly number[]
  readonly axis: number
  /** Size of x and y along the axis. */
  readonly extent: number
  readonly x: Strided
  readonly index: Strided
  readonly src: Strided
  readonly y: Strided
  readonly dtype: 'f32' | 'i32' | 'u32'
}

export interface ScanDescriptor {
  /** The axes outside, then the one along which to add. */
  readonly shape: readonly number[]
  readonly x: Strided
  readonly y: Strided
  readonly reverse: boolean
  readonly dtype: 'f32' | 'i32' | 'u32'
}

export interface ArgsortDescriptor {
  readonly rows: number
  readonly length: number
  readonly dtype: 'f32' | 'i32' | 'u32'
  readonly descending: boolean
  /** Strides of [row, element]. */
  readonly x: Strided
  readonly y: Strided
}

export interface AdamwDescriptor {
  /** Elements of each parameter tensor; all are contiguous. */
  readonly sizes: readonly number[]
  readonly ema: boolean
}

export interface AttentionSizes {
  /** Batch axes, heads among them. */
  readonly batch: readonly number[]
  readonly queries: number
  readonly keys: number
  readonly dim: number
  readonly valueDim: number
  /** Query t sees the keys s ≤ t only. */
  readonly causal: boolean
  /** Strides of [...batch, query, key]: added to the scaled scores. */
  readonly mask?: Strided
  /** Strides of [...batch, position, component]. */
  readonly q: Strided
  readonly k: Strided
  readonly v: Strided
}

/** What kernels are made from that take an epilogue. */
export interface ProductDescriptors {
  readonly matmul: MatmulDescriptor
  readonly conv: ConvDescriptor
  readonly convInputGrad: ConvDescriptor
}

/** What kernels of the other primitives are made from. */
export interface PrimitiveDescriptors {
  readonly convWeightGrad: ConvDescriptor
  readonly iota: MapDescriptor
  readonly gather: GatherDescriptor
  readonly scatterAdd: ScatterAddDescriptor
  readonly cumsum: ScanDescriptor
  readonly argsort: ArgsortDescriptor
  readonly randomBits: { readonly rows: number; readonly length: number }
}

/** What kernels of fused ops are made from. */
export interface FusedDescriptors {
  readonly groupNorm: GroupNormDescriptor
  readonly groupNormGrad: GroupNormGradDescriptor
  readonly layerNorm: LayerNormDescriptor
  readonly layerNormGrad: LayerNormGradDescriptor
  readonly softmax: SoftmaxDescriptor
  readonly softmaxGrad: SoftmaxGradDescriptor
  readonly attention: AttentionDescriptor
  readonly attentionGrad: AttentionGradDescriptor
}
