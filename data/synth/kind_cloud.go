package synth

// CloudTrail records and directory sign-ins, one JSON object a line.

// apiCall is one call of the cloud's interface: service, name, whether it only reads, request and response as JSON.
type apiCall struct {
	source, name      string
	write             bool
	request, response template
}

func call(source, name string, write bool, request, response string) *apiCall {
	return &apiCall{source, name, write, jsonText(request), jsonText(response)}
}

// cloudCalls by frequency (Zipf). Strings: 0 bucket, 1 role.
var cloudCalls = []*apiCall{
	call("ec2", "DescribeInstances", false, `{"maxResults":{100|500|1000},"instancesSet":{},"filterSet":{}}`, `null`),
	call("s3", "GetObject", false, `{"bucketName":"{0}","key":"{releases|reports|2025/03|configs}/{x:8}.{json|gz|parquet}","Host":"{0}.s3.eu-central-1.amazonaws.com"}`, `null`),
	call("sts", "GetCallerIdentity", false, `null`, `null`),
	call("logs", "DescribeLogGroups", false, `{"limit":50}`, `null`),
	call("ec2", "DescribeSecurityGroups", false, `{"securityGroupSet":{},"securityGroupIdSet":{"items":[{"groupId":"sg-0{x:16}"}]},"filterSet":{}}`, `null`),
	call("s3", "ListObjects", false, `{"list-type":"2","bucketName":"{0}","prefix":"{releases|reports|2025/03}/","Host":"{0}.s3.eu-central-1.amazonaws.com"}`, `null`),
	call("cloudwatch", "GetMetricData", false, `{"startTime":"Mar 3, 2025 12:00:00 AM","maxDatapoints":{n:100-1000}}`, `null`),
	call("s3", "PutObject", true, `{"bucketName":"{0}","key":"{artifacts|uploads|reports}/{x:10}.{zip|json|gz}","Host":"{0}.s3.eu-central-1.amazonaws.com","x-amz-server-side-encryption":"AES256"}`, `{"x-amz-server-side-encryption":"AES256"}`),
	call("iam", "ListRoles", false, `{"maxItems":{100|200}}`, `null`),
	call("lambda", "ListFunctions20150331", false, `{"maxItems":50}`, `null`),
	call("ecr", "GetAuthorizationToken", false, `{}`, `null`),
	call("ecr", "BatchGetImage", false, `{"repositoryName":"{shop|api|worker}","imageIds":[{"imageTag":"v{n:1-40}.{n:0-9}.{n:0-20}"}]}`, `null`),
	call("kms", "Decrypt", false, `{"encryptionContext":{"aws:s3:arn":"arn:aws:s3:::{0}"},"encryptionAlgorithm":"SYMMETRIC_DEFAULT"}`, `null`),
	call("ssm", "GetParameter", false, `{"name":"/prod/{shop|api|worker}/{db-host|feature-flags|queue-url}","withDecryption":false}`, `null`),
	call("secretsmanager", "GetSecretValue", false, `{"secretId":"prod/{shop|api|worker}/db"}`, `null`),
	call("ec2", "DescribeVolumes", false, `{"volumeSet":{},"filterSet":{"items":[{"name":"status","valueSet":{"items":[{"value":"in-use"}]}}]}}`, `null`),
	call("rds", "DescribeDBInstances", false, `{"maxRecords":100}`, `null`),
	call("autoscaling", "DescribeAutoScalingGroups", false, `{"maxRecords":{50|100}}`, `null`),
	call("cloudformation", "DescribeStacks", false, `{"stackName":"{shop|api|network}-prod"}`, `null`),
	call("iam", "GetUser", false, `{"userName":"{u}"}`, `null`),
	call("ec2", "StartInstances", true, `{"instancesSet":{"items":[{"instanceId":"i-0{x:16}"}]}}`, `{"requestId":"{guid}","instancesSet":{"items":[{"instanceId":"i-0{x:16}","currentState":{"code":0,"name":"pending"},"previousState":{"code":80,"name":"stopped"}}]}}`),
	call("ec2", "StopInstances", true, `{"instancesSet":{"items":[{"instanceId":"i-0{x:16}"}]},"force":false}`, `{"requestId":"{guid}","instancesSet":{"items":[{"instanceId":"i-0{x:16}","currentState":{"code":64,"name":"stopping"},"previousState":{"code":16,"name":"running"}}]}}`),
	call("ecs", "UpdateService", true, `{"service":"{shop|api|worker}","cluster":"prod","forceNewDeployment":true}`, `{"service":{"serviceName":"{shop|api|worker}","status":"ACTIVE","desiredCount":{n:2-8},"runningCount":{n:2-8}}}`),
	call("lambda", "UpdateFunctionCode20150331v2", true, `{"functionName":"{resize|notify|cleanup}","publish":true,"dryRun":false}`, `{"functionName":"{resize|notify|cleanup}","runtime":"{python3.12|nodejs22.x}","codeSize":{n:4000-900000},"version":"{n:1-90}"}`),
	call("cloudformation", "CreateChangeSet", true, `{"stackName":"{shop|api|network}-prod","changeSetName":"deploy-{x:8}","capabilities":["CAPABILITY_IAM"]}`, `{"id":"arn:aws:cloudformation:eu-central-1:111122223333:changeSet/deploy-{x:8}/{guid}"}`),
	call("ec2", "AuthorizeSecurityGroupIngress", true, `{"groupId":"sg-0{x:16}","ipPermissions":{"items":[{"ipProtocol":"tcp","fromPort":{443|22|5432},"toPort":{443|22|5432},"ipRanges":{"items":[{"cidrIp":"10.{20|40}.0.0/16"}]}}]}}`, `{"requestId":"{guid}","_return":true}`),
	call("iam", "PutRolePolicy", true, `{"roleName":"{1}","policyName":"inline-{x:4}","policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"s3:GetObject\",\"Resource\":\"*\"}]}"}`, `null`),
	call("iam", "ListAccessKeys", false, `{"userName":"{u}"}`, `null`),
	call("guardduty", "ListFindings", false, `{"detectorId":"{x:32}","maxResults":50}`, `null`),
	call("cloudtrail", "LookupEvents", false, `{"maxResults":50}`, `null`),
	call("route53", "ChangeResourceRecordSets", true, `{"hostedZoneId":"Z0{X:18}","changeBatch":{"changes":[{"action":"UPSERT","resourceRecordSet":{"name":"{shop|api|status}.umbrin.example","type":"A","tTL":300}}]}}`, `{"changeInfo":{"status":"PENDING","id":"/change/C0{X:18}"}}`),
	call("dynamodb", "DescribeTable", false, `{"tableName":"{sessions|carts|locks}"}`, `null`),
	call("sns", "Publish", true, `{"topicArn":"arn:aws:sns:eu-central-1:111122223333:{alerts|deploys}"}`, `{"messageId":"{guid}"}`),
	call("ec2", "CreateSnapshot", true, `{"volumeId":"vol-0{x:16}","description":"manual"}`, `{"requestId":"{guid}","snapshotId":"snap-0{x:16}","status":"pending","progress":""}`),
	call("iam", "AttachRolePolicy", true, `{"roleName":"{1}","policyArn":"arn:aws:iam::aws:policy/{ReadOnlyAccess|AmazonS3ReadOnlyAccess|CloudWatchLogsFullAccess}"}`, `null`),
}

var (
	callLogin       = call("signin", "ConsoleLogin", true, `null`, `{"ConsoleLogin":"Success"}`)
	callAssumeSAML  = call("sts", "AssumeRoleWithSAML", false, `{"principalArn":"arn:aws:iam::111122223333:saml-provider/umbrin-sso","roleArn":"arn:aws:iam::111122223333:role/{1}","durationSeconds":3600}`, `{"subjectType":"persistent","issuer":"https://sso.umbrin.example/saml","assumedRoleUser":{"assumedRoleId":"{2}:{u}","arn":"arn:aws:sts::111122223333:assumed-role/{1}/{u}"},"credentials":{"accessKeyId":"ASIA{X:16}","expiration":"{3}"}}`)
	callAssume      = call("sts", "AssumeRole", false, `{"roleArn":"arn:aws:iam::111122223333:role/{TaskRole|LambdaRole|BackupRole}","roleSessionName":"{x:12}","durationSeconds":3600}`, `{"credentials":{"accessKeyId":"ASIA{X:16}","expiration":"{3}"}}`)
	callListBuckets = call("s3", "ListBuckets", false, `{"Host":"s3.amazonaws.com"}`, `null`)
	callListObjects = call("s3", "ListObjects", false, `{"list-type":"2","bucketName":"{0}","prefix":"","max-keys":"1000","Host":"{0}.s3.eu-central-1.amazonaws.com"}`, `null`)
	callGetObject   = call("s3", "GetObject", false, `{"bucketName":"{0}","key":"{4}","Host":"{0}.s3.eu-central-1.amazonaws.com"}`, `null`)
	callListUsers   = call("iam", "ListUsers", false, `{"maxItems":1000}`, `null`)
	callCreateKey   = call("iam", "CreateAccessKey", true, `{"userName":"{4}"}`, `{"accessKey":{"accessKeyId":"AKIA{X:16}","status":"Active","userName":"{4}","createDate":"{3}"}}`)
	callStopTrail   = call("cloudtrail", "StopLogging", true, `{"name":"arn:aws:cloudtrail:eu-central-1:111122223333:trail/org-trail"}`, `null`)
	callPublic      = call("ec2", "ModifySnapshotAttribute", true, `{"snapshotId":"snap-0{x:16}","attributeType":"CREATE_VOLUME_PERMISSION","createVolumePermission":{"add":{"items":[{"userId":"444455556666"}]}}}`, `{"requestId":"{guid}","_return":true}`)

	cloudIdentity = jsonText(`"userIdentity":{"type":"AssumedRole","principalId":"{2}:{u}","arn":"arn:aws:sts::111122223333:assumed-role/{1}/{u}","accountId":"111122223333","accessKeyId":"ASIA{5}","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"{2}","arn":"arn:aws:iam::111122223333:role/{1}","accountId":"111122223333","userName":"{1}"},"attributes":{"creationDate":"{3}","mfaAuthenticated":"{6}"}}}`)
	cloudSAML     = jsonText(`"userIdentity":{"type":"SAMLUser","principalId":"umbrin-sso:{u}","userName":"{u}","identityProvider":"umbrin-sso"}`)
	cloudService  = jsonText(`"userIdentity":{"type":"AWSService","invokedBy":"{7}"}`)
	cloudTail     = jsonText(`,"requestID":"{X:16}","eventID":"{guid}","readOnly":{7},"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management"`)
	cloudTLS      = text(`,"tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256"}}`)

	cloudAgents = []string{
		"aws-cli/2.22.35 md/awscrt#0.23.4 ua/2.0 os/linux#6.8.0-51-generic md/arch#x86_64 lang/python#3.12.6 md/prompt#off md/command#%",
		"APN/1.0 HashiCorp/1.0 Terraform/1.10.3 (+https://www.terraform.io) terraform-provider-aws/5.83.0",
		"Boto3/1.35.90 md/Botocore#1.35.90 ua/2.0 os/linux#6.8.0-51-generic lang/python#3.12.6 Botocore/1.35.90",
		"aws-sdk-go-v2/1.32.7 ua/2.1 os/linux lang/go#1.23.4 md/GOOS#linux md/GOARCH#amd64",
	}
	cloudServices = []string{"lambda.amazonaws.com", "ecs-tasks.amazonaws.com", "backup.amazonaws.com", "autoscaling.amazonaws.com"}
)

// cloud writes a call of the user of w.v from w.v.ip; errorCode is empty for success.
func (w *window) cloud(t int64, c *apiCall, agent, errorCode string) {
	u := w.v.u
	v := &w.v
	session := newRandom(w.p.tenant.seed, siteDay, u.id, 2_000_000+w.daysSinceStart(t))
	v.s[5] = string(session.hex(nil, 16, "ABCDEFGHJKLMNPQ7"))
	v.s[1], v.s[2] = u.role, u.akid
	v.s[3] = string(appendISO(nil, t-t%hour, 'T')) + "Z"
	v.s[6] = "true"
	if u.dept == "Service" {
		v.s[6] = "false"
	}
	identity := &cloudIdentity
	if c == callAssumeSAML {
		identity = &cloudSAML
	}
	w.cloudRecord(t, c, identity, v.ip, agent, errorCode)
}

// cloudBy writes a call that a service of the cloud makes for itself.
func (w *window) cloudBy(t int64, service string, c *apiCall) {
	w.v.s[7] = service
	w.v.s[3] = string(appendISO(nil, t+hour, 'T')) + "Z"
	w.cloudRecord(t, c, &cloudService, service, service, "")
}

func (w *window) cloudRecord(t int64, c *apiCall, identity *template, address, agent, errorCode string) {
	b, ok := w.begin(kCloudTrail, t)
	if !ok {
		return
	}
	v := &w.v
	b = append(b, `{"eventVersion":"1.1`...)
	b = append(b, "01"[w.daysSinceStart(t)*2/max(1, w.p.days)&1]) // the format's version changes half-way
	b = append(b, `",`...)
	b = identity.expand(b, v, &w.ink)
	b = append(b, `,"eventTime":"`...)
	b = appendISO(b, t, 'T')
	b = append(b, `Z","eventSource":"`...)
	b = append(b, c.source...)
	b = append(b, `.amazonaws.com","eventName":"`...)
	b = append(b, c.name...)
	region := "eu-central-1"
	if c.source == "iam" || c.source == "route53" || c.source == "signin" {
		region = "us-east-1"
	}
	b = append(append(b, `","awsRegion":"`...), region...)
	b = append(append(b, `","sourceIPAddress":"`...), address...)
	b = append(b, `","userAgent":"`...)
	b = appendJSON(b, agent)
	b = append(b, '"')
	if errorCode != "" {
		b = append(append(append(b, `,"errorCode":"`...), errorCode...), `","errorMessage":"User: arn:aws:sts::111122223333:assumed-role/`...)
		b = append(append(append(append(b, v.s[1]...), '/'), v.u.login...), " is not authorized to perform: "...)
		b = append(append(append(append(b, c.source...), ':'), c.name...), ` because no identity-based policy allows the action"`...)
	}
	b = append(b, `,"requestParameters":`...)
	b = c.request.expand(b, v, &w.ink)
	b = append(b, `,"responseElements":`...)
	if errorCode != "" {
		b = append(b, "null"...)
	} else {
		b = c.response.expand(b, v, &w.ink)
	}
	readOnly := v.s[7]
	v.s[7] = "true"
	if c.write {
		v.s[7] = "false"
	}
	b = cloudTail.expand(b, v, &w.ink)
	v.s[7] = readOnly
	if identity == &cloudService {
		b = append(b, '}')
	} else {
		b = cloudTLS.expand(b, v, &w.ink)
	}
	w.finish(b)
}

// app is an application that people sign in to.
type app struct{ name, id, resource string }

var apps = []app{
	{"Office 365 Exchange Online", "00000002-0000-0ff1-ce00-000000000000", "Office 365 Exchange Online"},
	{"TalkBarn", "6f3c2a10-7d52-4c0b-93a1-0a4be1c8d201", "TalkBarn"},
	{"Office365 Shell WCSS-Client", "89bee1f7-5e6e-4d8a-9f3d-ecd601259da7", "Office365 Shell WCSS-Server"},
	{"PaperKite Docs", "1b9de7f4-02aa-4f1e-8c55-7e0d5b9a3342", "PaperKite Docs"},
	{"Umbrin Cloud SSO", "c02f61d8-9f7e-4a3b-b6d4-51f2a7e9c417", "Umbrin Cloud SSO"},
	{"LedgerPine ERP", "7a4e0b93-6c1d-4be8-a0f5-3d92c8e1f605", "LedgerPine ERP"},
	{"HireWell", "e81d4c76-35b0-4f9a-8d27-94c0b6a3e708", "HireWell"},
	{"Azure Portal", "c44b4083-3bb0-49c1-b47d-974e53cbdf3c", "Windows Azure Service Management API"},
	{"TicketBurrow", "30c5f9ae-81d7-4e26-b94b-6a7f02d8c119", "TicketBurrow"},
}

// signIn is one directory sign-in.
type signIn struct {
	code        string // 0 for success
	interactive bool
	client      string
	town        town
	policy      string
	risk        string
	managed     bool
}

var signInErrors = map[string]string{
	"0":      "Other.",
	"50126":  "Error validating credentials due to invalid username or password.",
	"50074":  "Strong Authentication is required.",
	"50076":  "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access the resource.",
	"50053":  "The account is locked, you've tried to sign in too many times with an incorrect user ID or password.",
	"50055":  "The password is expired.",
	"50140":  "This error occurred due to 'Keep me signed in' interrupt when the user was signing-in.",
	"500121": "Authentication failed during strong authentication request.",
	"53003":  "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
	"50034":  "The user account does not exist in the directory.",
	"65001":  "The user or administrator has not consented to use the application with ID.",
}

var (
	entraHead = jsonText(`"resourceId":"/tenants/` + tenantGUID + `/providers/Microsoft.aadiam","operationName":"Sign-in activity","operationVersion":"1.0","category":"{0}","tenantId":"` + tenantGUID + `","resultType":"{1}","durationMs":{n:0-900},"callerIpAddress":"{ip}","correlationId":"{guid}","identity":"{name}","Level":4,"location":"{2}","properties":{"id":"{guid}","createdDateTime":"{3}","userDisplayName":"{name}","userPrincipalName":"{upn}","userId":"{oid}","appId":"{4}","appDisplayName":"{5}","ipAddress":"{ip}","status":{"errorCode":{1},"failureReason":"{6}"},"clientAppUsed":"{7}"`)
	entraTail = jsonText(`,"userAgent":"{0}","deviceDetail":{"deviceId":"{1}","displayName":"{2}","operatingSystem":"{3}","browser":"{4}","isCompliant":{5},"isManaged":{5},"trustType":"{6}"}`)
	entraMore = jsonText(`,"location":{"city":"{0}","state":"{1}","countryOrRegion":"{2}","geoCoordinates":{"latitude":{3},"longitude":{4}}},"riskDetail":"none","riskLevelAggregated":"{5}","riskLevelDuringSignIn":"{5}","riskState":"none","resourceDisplayName":"{6}","resourceTenantId":"` + tenantGUID + `","conditionalAccessStatus":"{7}"`)
	entraMFA  = jsonText(`,"authenticationRequirement":"{multiFactorAuthentication|singleFactorAuthentication}","authenticationDetails":[{"authenticationStepDateTime":"{0}","authenticationMethod":"{1}","succeeded":{2},"authenticationStepResultDetail":"{3}"}],"tokenIssuerType":"AzureAD","isInteractive":{4},"autonomousSystemNumber":{#0}}}`)
)

// entra writes a sign-in of the user of w.v from w.v.ip to an application.
func (w *window) entra(t int64, a *app, s signIn) {
	b, ok := w.begin(kEntra, t)
	if !ok {
		return
	}
	v := &w.v
	u := v.u
	b = append(b, `{"time":"`...)
	b = appendFraction(appendISO(b, t, 'T'), t, 6)
	b = append(b, `Z",`...)
	created := string(appendFraction(appendISO(nil, t, 'T'), t, 6)) + "Z"
	category := "NonInteractiveUserSignInLogs"
	if s.interactive {
		category = "SignInLogs"
	}
	v.s = [8]string{category, s.code, s.town.country, created, a.id, a.name, signInErrors[s.code], s.client}
	b = entraHead.expand(b, v, &w.ink)
	agent := u.agent
	os, browser := "Windows 11", "Chrome 132.0.0"
	device := newRandom(w.p.tenant.seed, siteDay, u.id, 3_000_000)
	v.s = [8]string{agent, string(device.guid(nil)), u.ws.name, os, browser, "true", "Hybrid Azure AD joined"}
	if !s.managed {
		v.s = [8]string{browsers[4], "", "", "Linux", "Firefox 133.0", "false", ""}
	}
	b = entraTail.expand(b, v, &w.ink)
	v.s = [8]string{s.town.city, s.town.state, s.town.country, s.town.lat, s.town.lon, s.risk, a.resource, s.policy}
	b = entraMore.expand(b, v, &w.ink)
	succeeded, detail := "true", "MFA requirement satisfied by claim in the token"
	method := "Previously satisfied"
	interactive := "false"
	if s.interactive {
		interactive, method, detail = "true", "Password", "Correct password"
	}
	if s.code != "0" {
		succeeded, detail = "false", "Invalid username or password or Invalid on-premise username or password."
		if s.code == "500121" {
			method, detail = "Mobile app notification", "MFA denied; user declined the authentication"
		}
	}
	v.s = [8]string{created, method, succeeded, detail, interactive}
	v.n[0] = 64496 + int64(len(s.town.city)) // documentation range of RFC 5398
	w.finish(entraMFA.expand(b, v, &w.ink))
}
