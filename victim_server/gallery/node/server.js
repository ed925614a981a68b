const read = require('fs').readFileSync
const options = {
    requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.2',
    key: read('@KEY@'), cert: read('@SERVER@'), ca: read('@CA@'),
}
const server = require('https').createServer(options, (request, answer) => {
    answer.end(JSON.stringify(request.socket.getPeerCertificate().subject))
})
server.on('tlsClientError', (error) => console.error(error.message))
server.listen(@PORT@, '127.0.0.1')
