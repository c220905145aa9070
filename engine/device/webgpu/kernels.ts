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
import type { DeviceKernels } from '../rules/table.ts'
import { adamw, squaredNorm } from './lists.ts'

const kernels: DeviceKernels<WgslKernel, WgslTarget> = {
  map: mapKernel,
  reduce: reduceKernel,
  matmul: matmulKernel,
  conv: convKernel,
  convInputGrad: convInputGradKernel,
  convWeightGrad: convWeightGradKernel,
  iota: (d, target) => mapKernel(d, target),
  gather: (d) => gatherKernel(d),
  scatterAdd: scatterAddKernel,
  cumsum: scanKernel,
  argsort: argsortKernel,
  randomBits: philoxKernel,
  groupNorm: groupNormKernel,
  groupNormGrad: groupNormGradKernel,
  layerNorm: layerNormKernel,
  layerNormGrad: layerNormGradKernel,
  softmax: softmaxKernel,
  softmaxGrad: softmaxGradKernel,
  attention: attentionKernel,
  attentionGrad: attentionGradKernel,
  adamw,
  squaredNorm,
  widestHead,
}

export const webgpuKernels = (target: WgslTarget): KernelTable<WgslKernel, WgslTarget> => new KernelTable('webgpu', target, kernels, target.f16)
