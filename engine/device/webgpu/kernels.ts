/** The table of WGSL kernels. */
import { attentionKernel } from '../../../kernels/wgsl/attention/attention.ts'
import { attentionGradKernel } from '../../../kernels/wgsl/attention/attentionGrad.ts'
import { widestHead } from '../../../kernels/wgsl/attention/attentionTile.ts'
import { convInputGradKernel, convKernel, convWeightGradKernel } from '../../../kernels/wgsl/conv/conv.ts'
import { gatherKernel } from '../../../kernels/wgsl/indexing/gather.ts'
import { groupNormKernel } from '../../../kernels/wgsl/norm/groupNorm.ts'
import { groupNormGradKernel } from '../../../kernels/wgsl/norm/groupNormGrad.ts'
import type { WgslKernel, WgslTarget } from '../../../kernels/wgsl/core/kernel.ts'
import { layerNormGradKernel, layerNormKernel } from '../../../kernels/wgsl/norm/layerNorm.ts'
import { mapKernel } from '../../../kernels/wgsl/elementwise/map.ts'
import { matmulKernel } from '../../../kernels/wgsl/matmul/matmul.ts'
import { philoxKernel } from '../../../kernels/wgsl/elementwise/random.ts'
import { reduceKernel } from '../../../kernels/wgsl/reduce/reduce.ts'
import { scanKernel } from '../../../kernels/wgsl/reduce/scan.ts'
import { scatterAddKernel } from '../../../kernels/wgsl/indexing/scatterAdd.ts'
import { softmaxGradKernel, softmaxKernel } from '../../../kernels/wgsl/norm/softmax.ts'
import { argsortKernel } from '../../../kernels/wgsl/indexing/sort.ts'
import { KernelTable } from '../rules/table.ts'
import { fusedRules } from '../rules/fused.ts'
import type { FusedGenerators, PrimitiveGenerators } from '../rules/generators.ts'
import { listRules } from './lists.ts'

/** Operands in one buffer get the number of the first of them. */
const firsts = (buffers: readonly number[]): number[] => buffers.map((b) => buffers.indexOf(b))

const primitives = (target: WgslTarget): PrimitiveGenerators<WgslKernel> => ({
  map: (d, buffers) => mapKernel(d, target, firsts(buffers)),
  reduce: (d, buffers) => reduceKernel(d, target, firsts(buffers)),
  matmul: (d, epilogue, { factors, output }) => matmulKernel(d, target, epilogue, factors, output),
  conv: (d, epilogue, { factors, output }) => convKernel(d, target, epilogue, factors, output),
  convInputGrad: (d, epilogue, { factors, output }) => convInputGradKernel(d, target, epilogue, factors, output),
  convWeightGrad: (d, type) => convWeightGradKernel(d, target, type),
  gather: (d) => gatherKernel(d),
  scatterAdd: scatterAddKernel,
  cumsum: scanKernel,
  argsort: argsortKernel,
  randomBits: philoxKernel,
})

const fused = (target: WgslTarget): FusedGenerators<WgslKernel> => ({
  groupNorm: (d, type) => groupNormKernel(d, target, type),
  groupNormGrad: (d, type) => groupNormGradKernel(d, target, type),
  layerNorm: (d, type) => layerNormKernel(d, target, type),
  layerNormGrad: (d, type) => layerNormGradKernel(d, target, type),
  softmax: (d, type) => softmaxKernel(d, target, type),
  softmaxGrad: (d, type) => softmaxGradKernel(d, target, type),
  attention: (d, type) => attentionKernel(d, target, type),
  attentionGrad: (d, type) => attentionGradKernel(d, target, type),
  widestHead,
})

export function webgpuKernels(target: WgslTarget): KernelTable<WgslKernel> {
  return new KernelTable('webgpu', primitives(target), { ...fusedRules(fused(target)), ...listRules(target) }, target)
}
