// One device that speaks MQTT.js: connects, subscribes, publishes a message at each QoS, hears all of
// them, and leaves. The first argument says how, in JSON; what it heard is printed as JSON.
const fs = require("fs");
const mqtt = require("mqtt");

const { url, version, clientId, ca, cert, key, topic } = JSON.parse(process.argv[2]);

async function main() {
  const client = await mqtt.connectAsync(url, {
    protocolVersion: version,
    clientId,
    ca: fs.readFileSync(ca),
    cert: cert && fs.readFileSync(cert),
    key: key && fs.readFileSync(key),
    reconnectPeriod: 0,
    connectTimeout: 20000,
  });
  const heard = [];
  client.on("close", () => {
    if (heard.length < 3) fail(new Error("the server closed the connection"));
  });
  const all = new Promise((resolve) => {
    client.on("message", (topic, payload, packet) => {
      heard.push([topic, payload.toString(), packet.qos]);
      if (heard.length === 3) resolve();
    });
  });
  await client.subscribeAsync(topic, { qos: 2 });
  for (const qos of [0, 1, 2]) {
    await client.publishAsync(topic, `at ${qos}`, { qos });
  }
  await all;
  await client.endAsync();
  console.log(JSON.stringify(heard));
}

function fail(error) {
  console.error(`${error}`);
  process.exit(1);
}

main().catch(fail);
