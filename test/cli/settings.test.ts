/** What a checkpoint remembers of a run, as this version reads it, and where a run's randomness comes from. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadDigits } from '../../cli/digits.ts'
import { defaults, generatorFor, readSettings, startRun } from '../../cli/settings.ts'
import type { Settings } from '../../cli/settings.ts'
import { decodeTraining } from '../../diffusion/checkpoint.ts'
import { CheckpointError, ConfigError, device as openDevice, dropout, ones } from '../../engine/index.ts'
import type { Device } from '../../engine/index.ts'

const images = loadDigits()
const settings: Settings = {
  ...defaults, digest: images.digest, seed: 11, batch: 2, saveEvery: 7, sampling: 9,
  model: { ...defaults.model, block_out_channels: [8], norm_num_groups: 4, down_block_types: ['DownBlock2D'], up_block_types: ['UpBlock2D'] },
}
const read = (changes: object): Settings => readSettings({ settings: JSON.stringify({ ...settings, ...changes }) }, 'run.safetensors')

describe('settings', () => {
  test('are read as they were written', () => {
    expect(read({})).toEqual(settings)
    expect(JSON.stringify(read({}))).toBe(JSON.stringify(settings))
  })

  test('that earlier versions did not record are what those did', () => {
    expect(read({ saveEvery: undefined, sampling: undefined })).toEqual({ ...settings, saveEvery: 250, sampling: 100 })
    expect(read({ model: { ...settings.model, norm_eps: 1e-5, dropout: 0 } }).model).toEqual({ ...settings.model, norm_eps: 1e-5, dropout: 0 })
  })

  test.each([
    [{ dropout: 0.1 }, 'run.safetensors was trained with dropout, which this version does not know; go on with the version that wrote it'],
    [{ sampler: 'heun', loss: 'l1' }, 'run.safetensors was trained with sampler and loss, which this version does not know; go on with the version that wrote it'],
    [{ batch: undefined }, 'run.safetensors does not say its batch: it is undefined; use the version that wrote it, or an earlier checkpoint'],
    [{ rate: '1e-3' }, 'run.safetensors does not say its rate: it is "1e-3"; use the version that wrote it, or an earlier checkpoint'],
    [{ model: { ...settings.model, sample_size: [8, 8] } }, 'run.safetensors does not say its model.sample_size'],
    [{ model: null }, 'run.safetensors does not say its model'],
  ])('with %o are refused', (changes, message) => {
    expect(() => read(changes)).toThrow(CheckpointError)
    expect(() => read(changes)).toThrow(message)
  })

  test('of another network are refused by its own names', () => {
    expect(() => read({ model: { ...settings.model, depth: 3 } })).toThrow(ConfigError)
    expect(() => read({ model: { ...settings.model, depth: 3 } })).toThrow('depth is 3 (a key that it does not know)')
  })

  test('that are no settings are refused', () => {
    expect(() => readSettings({}, 'x')).toThrow('x does not say what it was trained with; only runs of langevin train can be taken up')
    expect(() => readSettings({ settings: '{' }, 'x')).toThrow('x is damaged: the record of settings is not JSON')
  })
})

describe('the seed', () => {
  let device: Device
  beforeAll(async () => {
    device = await openDevice('cpu', { threads: 1 })
  })
  afterAll(async () => device.close())

  /** What a layer drops that draws from the device's generator, at the beginning of a run, and the run's checkpoint. */
  async function beginning(seed: number): Promise<{ readonly kept: number[]; readonly bytes: Uint8Array<ArrayBuffer> }> {
    const { trainer } = startRun({ ...settings, seed }, images, device)
    const bytes = await trainer.save()
    return { kept: [...(await dropout(ones([64], { device }), { p: 0.5 }).data())], bytes }
  }

  test('is where layers draw from, too, in a stream of their own that the checkpoint keeps', async () => {
    const [first, again, other] = [await beginning(1), await beginning(1), await beginning(2)]
    expect(again.kept).toEqual(first.kept)
    expect(other.kept).not.toEqual(first.kept)
    const { deviceGenerator, generator } = decodeTraining(first.bytes, 'first')
    expect(deviceGenerator).toEqual(generatorFor(1, 'layers').state())
    expect(deviceGenerator.key).not.toEqual(generator.key)
    expect(Buffer.compare(first.bytes, again.bytes)).toBe(0)
  })
})
