/** The CPU's table of kernels. */
import { attentionKernel } from '../../../kernels/wasm/attention/attention.ts'
import { attentionGradKernel } from '../../../kernels/wasm/attention/attentionGrad.ts'
import { convInputGradKernel, convKernel, convWeightGradKernel } from '../../../kernels/wasm/conv/conv.ts'
import { gatherKernel } from '../../../kernels/wasm/indexing/gather.ts'
import { groupNormKernel } from '../../../kernels/wasm/norm/groupNorm.ts'
import { groupNormGradKernel } from '../../../kernels/wasm/norm/groupNormGrad.ts'
import type { WasmKernel, WasmTarget } from '../../../kernels/wasm/core/kernel.ts'
import { layerNormGradKernel, layerNormKernel } from '../../../kernels/wasm/norm/layerNorm.ts'
import { mapKernel } from '../../../kernels/wasm/elementwise/map.ts'
import { matmulKernel } from '../../../kernels/wasm/matmul/matmul.ts'
import { matmulPanels, packingPays } from '../../../kernels/wasm/matmul/matmulPanels.ts'
import { takesPlanes } from '../../../kernels/wasm/conv/planeShape.ts'
import { philoxKernel } from '../../../kernels/wasm/elementwise/random.ts'
import { reduceKernel } from '../../../kernels/wasm/reduce/reduce.ts'
import { scanKernel } from '../../../kernels/wasm/reduce/scan.ts'
import { scatterAddKernel } from '../../../kernels/wasm/indexing/scatterAdd.ts'
import { smallAttention, smallConv, smallMatmul, smallNorm, withSmall } from '../../../kernels/wasm/core/small.ts'
import { softmaxGradKernel, softmaxKernel } from '../../../kernels/wasm/norm/softmax.ts'
import { argsortKernel } from '../../../kernels/wasm/indexing/sort.ts'
import { KernelTable } from '../rules/table.ts'
import type { DeviceKernels } from '../rules/table.ts'
import { adamw, squaredNorm } from './lists.ts'

const kernels: DeviceKernels<WasmKernel, WasmTarget> = {
  map: mapKernel,
  reduce: reduceKernel,
  matmul: withSmall(matmulKernel, smallMatmul),
  conv: withSmall(convKernel, smallConv(7)),
  convInputGrad: withSmall(convInputGradKernel, smallConv(7)),
  packers: { matmul: (d, target) => (packingPays(d) ? matmulPanels(d, target) : undefined) },
  convTakesPlanes: takesPlanes,
  convWeightGrad: withSmall(convWeightGradKernel, smallConv(23)), // positions enough that sums are added to
  iota: mapKernel,
  gather: gatherKernel,
  scatterAdd: scatterAddKernel,
  cumsum: scanKernel,
  argsort: argsortKernel,
  randomBits: philoxKernel,
  groupNorm: withSmall(groupNormKernel, smallNorm),
  groupNormGrad: withSmall(groupNormGradKernel, smallNorm),
  layerNorm: layerNormKernel,
  layerNormGrad: layerNormGradKernel,
  softmax: softmaxKernel,
  softmaxGrad: softmaxGradKernel,
  attention: withSmall(attentionKernel, smallAttention),
  attentionGrad: withSmall(attentionGradKernel, smallAttention),
  adamw,
  squaredNorm,
}

export const cpuKernels = (target: WasmTarget): KernelTable<WasmKernel, WasmTarget> => new KernelTable('cpu', target, kernels)
