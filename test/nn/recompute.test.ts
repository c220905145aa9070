/** Checkpointing by module: the same bits from less memory. */
import { afterAll, expect, test } from 'vitest'
import { ConfigError, RandomGenerator, explain, grad, mean, mul, realize, tensor } from '../../engine/index.ts'
import type { Tensor, TensorLike } from '../../engine/index.ts'
import { Dropout, Linear, Module, ReLU, Sequential, recomputeModules, namedParameters } from '../../nn/index.ts'
import { closeAll, onEach, openAll } from '../devices.ts'

const devices = await openAll()
afterAll(async () => closeAll(devices))

/** Deep enough that its activations are what memory goes to. */
function chain(device: NonNullable<(typeof devices)[number]['device']>): Sequential {
  const options = { device, generator: new RandomGenerator(3) }
  return new Sequential(...Array.from({ length: 6 }, () => new Sequential(new Linear(16, 16, options), new ReLU(), new Linear(16, 16, options), new Dropout(0.3, { generator: new RandomGenerator(5) }))))
}

onEach(devices, 'gradients keep their bits, with dropout, and the peak falls', async (device) => {
  const x = tensor(Float32Array.from({ length: 512 * 16 }, (_, i) => Math.sin(i)), [512, 16], { device })
  const results = []
  for (const recompute of [false, true]) {
    const model = chain(device)
    if (recompute) expect(recomputeModules(model, (module, path) => path !== '' && module instanceof Sequential).paths).toEqual(['0', '1', '2', '3', '4', '5'])
    const y = model.call(x)
    const grads = Object.values(grad(mean(mul(y, y)), namedParameters(model)))
    const [plan] = await explain(...grads)
    await realize(...grads)
    results.push({ peak: plan?.peakBytes ?? 0, bits: await Promise.all(grads.map(async (g) => [...(await g.data())])) })
  }
  const [plain, recomputed] = results
  expect(recomputed?.bits).toEqual(plain?.bits)
  expect(recomputed?.peak).toBeLessThan(0.75 * (plain?.peak ?? 0))
})

onEach(devices, 'what is inside a chosen module is not asked for, and it can be undone', (device) => {
  const model = chain(device)
  const asked: string[] = []
  const { paths, undo } = recomputeModules(model, (_, path) => {
    asked.push(path)
    return path === '1'
  })
  expect(paths).toEqual(['1'])
  expect(asked).toContain('0.2')
  expect(asked.some((path) => path.startsWith('1.'))).toBe(false)
  const x = tensor(new Float32Array(16), [1, 16], { device })
  const second = model[1]
  if (!(second instanceof Sequential)) throw new TypeError('a block')
  expect(second.call(x).node.op.name).toBe('customGradient')
  undo()
  expect(second.call(x).node.op.name).not.toBe('customGradient')
})

onEach(devices, 'arguments that are no tensors pass through; other results are refused', async (device) => {
  class Scaled extends Module<[x: TensorLike, by: { n: number; other: Tensor }], Tensor> {
    forward(x: TensorLike, { n, other }: { n: number; other: Tensor }): Tensor {
      return mul(mul(x, n), other)
    }
  }
  class Record extends Module<[TensorLike], { y: TensorLike }> {
    forward(x: TensorLike): { y: TensorLike } {
      return { y: x }
    }
  }
  const x = tensor([1, 2], null, { device })
  const scaled = new Scaled()
  recomputeModules(scaled, () => true)
  const other = tensor([3, 4], null, { device })
  const y = scaled.call(x, { n: 2, other })
  const slopes = grad(y.sum(), { x, other })
  expect([...(await slopes.x.data()), ...(await slopes.other.data())]).toEqual([6, 8, 2, 4])
  const record = new Record()
  recomputeModules(record, () => true)
  expect(() => record.call(x)).toThrow(ConfigError)
  expect(() => record.call(x)).toThrow('recomputeModules: module (the root) returns neither a tensor nor a list of tensors; choose a module around or inside it')
})

test('paths of nothing chosen', () => {
  expect(recomputeModules(new Sequential(new ReLU()), () => false).paths).toEqual([])
})
