/** What a device's kernel generators take: one function for each kind of kernel, from a descriptor to a kernel of the device's own. */
import type {
  ArgsortDescriptor, AttentionDescriptor, AttentionGradDescriptor, ConvDescriptor, Epilogue, GatherDescriptor, GroupNormDescriptor, GroupNormGradDescriptor, LayerNormDescriptor,
  LayerNormGradDescriptor, MapDescriptor, MatmulDescriptor, ReduceDescriptor, ScanDescriptor, ScatterAddDescriptor, SoftmaxDescriptor, SoftmaxGradDescriptor,
} from '../../../kernels/ir/descriptor.ts'
import type { FloatType } from '../../../kernels/ir/expression.ts'
import type { Packing } from './rule.ts'

/** In which types factors and output of a product lie. */
export interface ProductTypes {
  readonly factors: FloatType
  readonly output: FloatType
}

/** Of kernels that every device has. Operands are counted inputs first, then outputs. */
export interface PrimitiveGenerators<Kernel> {
  /** `buffers` says which operands lie in one buffer: those with equal numbers. */
  map(d: MapDescriptor, buffers: readonly number[]): Kernel
  reduce(d: ReduceDescriptor, buffers: readonly number[]): Kernel
  matmul(d: MatmulDescriptor, epilogue: Epilogue | undefined, types: ProductTypes): Kernel
  /** What lays an operand of the product out by a launch of its own, where that pays. */
  packMatmul?(d: MatmulDescriptor): Packing<Kernel> | undefined
  conv(d: ConvDescriptor, epilogue: Epilogue | undefined, types: ProductTypes): Kernel
  convInputGrad(d: ConvDescriptor, epilogue: Epilogue | undefined, types: ProductTypes): Kernel
  convWeightGrad(d: ConvDescriptor, type: FloatType): Kernel
  /** Whether kernels of a convolution, and of its gradients, like these row-major images better than copies with channels last. Default: no. */
  convTakesPlanes?(d: ConvDescriptor): boolean
  gather(d: GatherDescriptor): Kernel
  scatterAdd(d: ScatterAddDescriptor): Kernel
  cumsum(d: ScanDescriptor): Kernel
  argsort(d: ArgsortDescriptor): Kernel
  randomBits(d: { readonly rows: number; readonly length: number }): Kernel
}

/** Of kernels for fused ops, by the op's name. Where one is missing, the op's decomposition runs. */
export interface FusedGenerators<Kernel> {
  readonly groupNorm?: (d: GroupNormDescriptor, type: FloatType) => Kernel
  readonly groupNormGrad?: (d: GroupNormGradDescriptor, type: FloatType) => Kernel
  readonly layerNorm?: (d: LayerNormDescriptor, type: FloatType) => Kernel
  readonly layerNormGrad?: (d: LayerNormGradDescriptor, type: FloatType) => Kernel
  readonly softmax?: (d: SoftmaxDescriptor, type: FloatType) => Kernel
  readonly softmaxGrad?: (d: SoftmaxGradDescriptor, type: FloatType) => Kernel
  readonly attention?: (d: AttentionDescriptor, type: FloatType) => Kernel
  readonly attentionGrad?: (d: AttentionGradDescriptor, type: FloatType) => Kernel
  /** The widest rows that the kernels of attention sum up: of values, and for the gradient of queries, too. Default: any. */
  readonly widestHead?: number
}
