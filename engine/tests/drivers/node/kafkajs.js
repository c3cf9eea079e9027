// KafkaJS against HOST:PORT: producer, consumer groups and admin.
const { Kafka, CompressionTypes, ConfigResourceTypes, logLevel } = require('kafkajs')

const topic = `kafkajs-${Date.now()}`
const start = Math.floor(Date.now() / 1000) * 1000 - 3600000 // an hour ago: recent enough for retention, whole seconds
const kafka = new Kafka({ clientId: 'checks', brokers: [process.argv[2]], logLevel: logLevel.NOTHING, retry: { retries: 3 } })
const admin = kafka.admin()
let passed = 0, failed = 0

async function run(name, check) {
  try {
    const limit = new Promise((_, reject) => setTimeout(() => reject(new Error('30 s are over')), 30000).unref())
    await Promise.race([check(), limit])
    passed++
    console.log(`ok ${name}`)
  } catch (e) {
    failed++
    console.log(`FAIL ${name} ${String(e.message).replace(/\s+/g, ' ')}`)
  }
}

function equal(got, want) {
  if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(`${JSON.stringify(got)} instead of ${JSON.stringify(want)}`)
}

// Kafka applies changes to its metadata a little after the answer.
async function until(holds) {
  for (let n = 0; n < 50; n++) {
    if (await holds()) return
    await new Promise(resolve => setTimeout(resolve, 200))
  }
  throw new Error('did not become true')
}

async function produce(name, count, how = {}, client = {}) {
  const producer = kafka.producer(client)
  await producer.connect()
  try {
    const messages = Array.from({ length: count }, (_, n) => ({ key: `k${n}`, value: `v${n}`, partition: 0, headers: { h: 'x' }, timestamp: String(start + n * 1000) }))
    return await producer.send({ topic: name, messages, ...how })
  } finally {
    await producer.disconnect()
  }
}

async function main() {
  await admin.connect()
  await run('create-topics', async () => {
    equal(await admin.createTopics({ topics: [{ topic, numPartitions: 2 }, { topic: `${topic}-offsets`, numPartitions: 1 }] }), true)
    equal(await admin.createTopics({ topics: [{ topic }] }), false)
    await until(async () => (await admin.listTopics()).includes(topic))
  })
  await run('codec-none', async () => equal((await produce(topic, 50))[0].baseOffset, '0'))
  await run('codec-gzip', async () => equal((await produce(topic, 50, { compression: CompressionTypes.GZIP }))[0].baseOffset, '50'))
  for (const acks of [0, 1, -1]) await run(`acks-${acks}`, async () => { await produce(topic, 5, { acks }) })
  await run('idempotent', async () => { await produce(topic, 5, {}, { idempotent: true, maxInFlightRequests: 1 }) })
  await run('offsets', async () => {
    await produce(`${topic}-offsets`, 100)
    equal(await admin.fetchTopicOffsets(`${topic}-offsets`), [{ partition: 0, offset: '100', high: '100', low: '0' }])
    equal(await admin.fetchTopicOffsetsByTimestamp(`${topic}-offsets`, start + 40000), [{ partition: 0, offset: '40' }])
  })
  await run('group', async () => {
    const groupId = `${topic}-g`
    const read = async (want, wait) => {
      const consumer = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 500 })
      const got = []
      await consumer.connect()
      await consumer.subscribe({ topic: `${topic}-offsets`, fromBeginning: true })
      await consumer.run({ eachMessage: async ({ message }) => { got.push(message.value.toString()) } })
      for (let n = 0; n < wait && (want === 0 || got.length < want); n++) await new Promise(resolve => setTimeout(resolve, 100))
      await consumer.disconnect()
      return got
    }
    equal((await read(100, 150)).length, 100)
    equal(await read(0, 50), [])
    equal((await admin.fetchOffsets({ groupId, topics: [`${topic}-offsets`] }))[0].partitions[0].offset, '100')
    equal((await admin.listGroups()).groups.some(group => group.groupId === groupId), true)
    equal((await admin.describeGroups([groupId])).groups[0].state, 'Empty')
    await admin.setOffsets({ groupId, topic: `${topic}-offsets`, partitions: [{ partition: 0, offset: '42' }] })
    equal((await admin.fetchOffsets({ groupId, topics: [`${topic}-offsets`] }))[0].partitions[0].offset, '42')
    await admin.deleteGroups([groupId])
    equal((await admin.listGroups()).groups.some(group => group.groupId === groupId), false)
  })
  await run('describe-cluster', async () => equal((await admin.describeCluster()).brokers.length, 1))
  await run('partitions', async () => {
    await admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] })
    await until(async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 4)
  })
  await run('configs', async () => {
    const described = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configNames: ['cleanup.policy'] }] })
    equal(described.resources[0].configEntries.map(e => [e.configName, e.configValue]), [['cleanup.policy', 'delete']])
  })
  await run('delete-records', async () => {
    await admin.deleteTopicRecords({ topic: `${topic}-offsets`, partitions: [{ partition: 0, offset: '30' }] })
    equal((await admin.fetchTopicOffsets(`${topic}-offsets`))[0].low, '30')
  })
  await run('delete-topics', async () => {
    await admin.deleteTopics({ topics: [topic] })
    await until(async () => !(await admin.listTopics()).includes(topic))
  })
  await admin.disconnect()
  console.log(`kafkajs: ${passed} passed, ${failed} failed`)
  process.exit(failed ? 1 : 0)
}

main().catch(e => { console.log(`FAIL start ${e.message}\nkafkajs: ${passed} passed, ${failed + 1} failed`); process.exit(1) })
