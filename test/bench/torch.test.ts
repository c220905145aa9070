/** PyTorch does the same work as the subjects: from the same inputs it computes the same outputs, with as many parameters. */
import { spawnSync } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Subject } from '../../bench/subject.ts'
import { adamWSubject, attentionSubject, chainSubject, convSubject, groupNormSubject, matmulSubject, subjects } from '../../bench/subjects.ts'
import { trainStepSubject, unets } from '../../bench/unets.ts'
import { fingerprint } from '../../bench/values.ts'
import { Torch, TorchError } from '../../cli/torch.ts'
import { device as openDevice, realize } from '../../engine/index.ts'
import type { Device } from '../../engine/index.ts'

const python = process.env['PYTHON'] ?? 'python3'
const installed = spawnSync(python, ['-c', 'import torch'], { stdio: 'ignore' }).status === 0
if (!installed) console.warn(`\nNO PYTORCH: the comparisons with it in test/bench are SKIPPED. Install torch for ${python}, or set PYTHON to one that has it.\n`)

describe.skipIf(!installed)('PyTorch', () => {
  let torch: Torch
  let device: Device
  beforeAll(async () => {
    torch = await Torch.start(python, 2)
    device = await openDevice('cpu', { threads: 2 })
  }, 120_000)
  afterAll(async () => {
    await torch[Symbol.asyncDispose]()
    await device.close()
  })

  /** `calls` of a subject and of PyTorch give outputs that agree. */
  async function agree({ name, prepare }: Subject, calls = 1): Promise<void> {
    const { record, parameters } = await prepare(device)
    for (let i = 0; i < calls; i++) {
      const outputs = record()
      await realize(...outputs)
      const ours = await Promise.all(outputs.map(fingerprint))
      const theirs = await torch.outputs(name)
      expect(theirs.parameters).toBe(parameters)
      expect(theirs.outputs).toHaveLength(ours.length)
      theirs.outputs.forEach(({ rms, projection }, o) => {
        expect(Math.abs((ours[o]?.rms ?? NaN) - rms) / rms, `size of output ${o}`).toBeLessThan(1e-4)
        expect(Math.abs((ours[o]?.projection ?? NaN) - projection) / rms, `projection of output ${o}`).toBeLessThan(1e-3)
      })
    }
  }

  const small: readonly Subject[] = [
    matmulSubject(33), matmulSubject(33, 'abT'), matmulSubject(33, 'aTb'), matmulSubject(33, 'aTbT'),
    convSubject({ batch: 2, channels: 3, size: 5, out: 7 }, false), convSubject({ batch: 2, channels: 3, size: 5, out: 7 }, true),
    groupNormSubject(2, 2, 6, 5), attentionSubject(2, 3, 17, 8), chainSubject(1),
    ...subjects.filter(({ name }) => name.startsWith('forward_')),
  ]
  test.each(small.map((subject) => [subject.name, subject] as const))('%s', async (_, subject) => agree(subject), 180_000)

  // The second loss depends on gradients and optimiser of the first step, the third on clipping: Adam's first step has no scale.
  test.each(unets.map((unet) => [unet.name, trainStepSubject(unet)] as const))('three training steps of %s', async (_, subject) => agree(subject, 3), 180_000)

  test('AdamW has as many parameters', async () => {
    const { parameters } = await adamWSubject.prepare(device)
    expect((await torch.outputs(adamWSubject.name)).parameters).toBe(parameters)
  }, 180_000)

  test('knows every subject, and says which it does not', async () => {
    await expect(torch.time('matmul_f16_8', 0.01)).rejects.toThrow('PyTorch failed on matmul_f16_8: ValueError: there is no case matmul_f16_8')
    expect((await torch.time('matmul_f32_8', 0.01)).length).toBeGreaterThan(1)
  })
})

test('without Python', async () => {
  await expect(Torch.start('no-such-python', 1)).rejects.toThrow(TorchError)
  await expect(Torch.start('no-such-python', 1)).rejects.toThrow(/cannot run no-such-python .*; name a Python that has torch with --python, or leave out --torch/)
})
