// One real SDK each, used as its documentation says: what it prints is what it got from the API.   node sdks.mjs NAME
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'

const load = createRequire(`${process.env.SIDEKEY_NODE}/`)
const env = process.env

const sdks = {
    // Application Default Credentials: the key file of a service account, a signed assertion.
    async 'google-auth-library'() {
        const { GoogleAuth } = load('google-auth-library')
        const auth = new GoogleAuth({ scopes: ['https://www.googleapis.com/auth/drive.readonly'] })
        const answer = await auth.request({ url: 'https://www.googleapis.com/drive/v3/about' })
        return answer.data.user
    },
    // The same with the file of a user: a refresh token.
    async 'google-auth-library user'() {
        const { GoogleAuth } = load('google-auth-library')
        const auth = new GoogleAuth({ keyFilename: env.USER_FILE })
        const answer = await auth.request({ url: 'https://www.googleapis.com/drive/v3/about' })
        return answer.data.user
    },
    // Google's client libraries without a token request: the API itself gets the assertion.
    async 'google-auth-library own JWT'() {
        const { GoogleAuth } = load('google-auth-library')
        const auth = new GoogleAuth({ scopes: ['https://www.googleapis.com/auth/drive.readonly'] })
        auth.useJWTAccessWithScope = true
        const answer = await auth.request({ url: 'https://www.googleapis.com/drive/v3/about' })
        return answer.data.user
    },
    async '@azure/identity'() {
        const { ClientSecretCredential } = load('@azure/identity')
        const credential = new ClientSecretCredential('t-1', 'app-1', env.AZURE_CLIENT_SECRET)
        return graph(credential)
    },
    async '@azure/identity certificate'() {
        const { ClientCertificateCredential } = load('@azure/identity')
        return graph(new ClientCertificateCredential('t-1', 'app-1', env.AZURE_CLIENT_CERTIFICATE_PATH))
    },
    // Token rotation by hand, as Slack documents it, then a call with what came.
    async '@slack/web-api'() {
        const { WebClient } = load('@slack/web-api')
        const secret = env.SLACK_BOT_TOKEN
        const got = await new WebClient().oauth.v2.access({ client_id: 'slack-app', client_secret: secret, grant_type: 'refresh_token', refresh_token: secret })
        const answer = await new WebClient(got.access_token).auth.test()
        return answer.user
    },
    // An app's JWT, for an installation's token.
    async '@octokit/auth-app'() {
        const { createAppAuth } = load('@octokit/auth-app')
        const { Octokit } = load('@octokit/core')
        const octokit = new Octokit({ authStrategy: createAppAuth, auth: { appId: 4711, installationId: 42, privateKey: readFileSync(env.PRIVATE_KEY_PATH, 'utf8') } })
        const answer = await octokit.request('GET /installation/repositories')
        return answer.data.user
    },
    async '@octokit/core'() {
        const { Octokit } = load('@octokit/core')
        const answer = await new Octokit({ auth: env.GH_TOKEN }).request('GET /installation/repositories')
        return answer.data.user
    },
    async 'openai'() {
        const OpenAI = load('openai').default
        for await (const model of new OpenAI().models.list()) return model.id
    },
    async '@anthropic-ai/sdk'() {
        const Anthropic = load('@anthropic-ai/sdk').default
        for await (const model of new Anthropic().models.list()) return model.id
    },
}

async function graph(credential) {
    const token = await credential.getToken('https://graph.microsoft.com/.default')
    const answer = await fetch('https://graph.microsoft.com/v1.0/me', { headers: { authorization: `Bearer ${token.token}` } })
    return (await answer.json()).user
}

console.log(await sdks[process.argv[2]]())
