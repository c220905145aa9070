/** The table of WGSL kernels. */
import { attentionKernel } from '../../../kernels/wgsl/attention.ts'
import { attentionGradKernel } from '../../../kernels/wgsl/attentionGrad.ts'
import { convInputGradKernel, convKernel, convWeightGradKernel } from '../../../kernels/wgsl/conv.ts'
import { gatherKernel } from '../../../kernels/wgsl/gather.ts'
import { groupNormKernel } from '../../../kernels/wgsl/groupNorm.ts'
import { groupNormGradKernel } from '../../../kernels/wgsl/groupNormGrad.ts'
import type { WgslKernel, WgslTarget } from '../../../kernels/wgsl/kernel.ts'
import { layerNormGradKernel, layerNormKernel } from '../../../kernels/wgsl/layerNorm.ts'
import { mapKernel } from '../../../kernels/wgsl/map.ts'
import { matmulKernel } from '../../../kernels/wgsl/matmul.ts'
import { philoxKernel } from '../../../kernels/wgsl/random.ts'
import { reduceKernel } from '../../../kernels/wgsl/reduce.ts'
import { scanKernel } from '../../../kernels/wgsl/scan.ts'
import { scatterAddKernel } from '../../../kernels/wgsl/scatterAdd.ts'
import { softmaxGradKernel, softmaxKernel } from '../../../kernels/wgsl/softmax.ts'
import { argsortKernel } from '../../../kernels/wgsl/sort.ts'
import { KernelTable } from '../rules/calls.ts'
import { fusedRules } from '../rules/fused.ts'
import type { FusedGenerators, PrimitiveGenerators } from '../rules/generators.ts'
import { listRules } from './lists.ts'

/** Operands in one buffer get the number of the first of them. */
const firsts = (buffers: readonly number[]): number[] => buffers.map((b) => buffers.indexOf(b))

const primitives = (target: WgslTarget): PrimitiveGenerators<WgslKernel> => ({
  map: (d, buffers) => mapKernel(d, target, firsts(buffers)),
  reduce: (d, buffers) => reduceKernel(d, target, firsts(buffers)),
  matmul: (d, epilogue) => matmulKernel(d, target, epilogue),
  conv: (d, epilogue) => convKernel(d, target, epilogue),
  convInputGrad: (d, epilogue) => convInputGradKernel(d, target, epilogue),
  convWeightGrad: (d) => convWeightGradKernel(d, target),
  gather: (d) => gatherKernel(d),
  scatterAdd: scatterAddKernel,
  cumsum: scanKernel,
  argsort: argsortKernel,
  randomBits: philoxKernel,
})

const fused = (target: WgslTarget): FusedGenerators<WgslKernel> => ({
  groupNorm: (d) => groupNormKernel(d, target),
  groupNormGrad: (d) => groupNormGradKernel(d, target),
  layerNorm: (d) => layerNormKernel(d, target),
  layerNormGrad: (d) => layerNormGradKernel(d, target),
  softmax: (d) => softmaxKernel(d, target),
  softmaxGrad: (d) => softmaxGradKernel(d, target),
  attention: (d) => attentionKernel(d, target),
  attentionGrad: (d) => attentionGradKernel(d, target),
})

export function webgpuKernels(target: WgslTarget): KernelTable<WgslKernel> {
  return new KernelTable('webgpu', primitives(target), { ...fusedRules(fused(target)), ...listRules(target) })
}
