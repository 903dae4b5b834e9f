//! Made-up secrets and personal data of many kinds, to be planted wherever a request has room for them and looked for in
//! everything that comes out. Keys are put together here so that no scanner takes this file for a leak.

/// One of them.
#[derive(Clone, Debug)]
pub struct Plant {
    pub kind: &'static str,
    /// A sentence with it.
    pub text: String,
    /// What must not be found anywhere.
    pub needle: String,
    /// Personal data, which mode `full` keeps.
    pub personal: bool,
}

/// What nobody minds, and what is therefore still there in the modes that keep texts.
pub const ORDINARY: &str = "ordinarily visible words, version 1.2.3 at 12:30:45 with 4096 tokens";

/// Kind, what stands before it, and the secret in parts.
#[rustfmt::skip]
const SECRETS: &[(&str, &str, &[&str])] = &[
    ("aws id", "id ", &["AK", "IAQ7XWPLANTED0001"]),
    ("aws secret", "aws_secret_access_key = ", &["wJalrXUtnFEMI/K7MDENG/", "bPxRfiCYPLANTED0002"]),
    ("gcp key", "", &["AI", "zaSyPLANTED0003bcdefghijklmnopqrstuvwx"]),
    ("gcp oauth", "", &["ya", "29.PLANTED0004a0AfH6SMBxyz"]),
    ("gcp client secret", "", &["GOC", "SPX-PLANTED0005ghijKLMN"]),
    ("azure storage", "AccountKey=", &["Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1PLANTED0006=="]),
    ("azure client", "", &["abc8", "Q~PLANTED0007IjKlMnOpQrStUvWxYz"]),
    ("github", "", &["gh", "p_PLANTED0008F292c6912E7710c838347Ae17"]),
    ("github fine", "", &["github", "_pat_PLANTED0009EFG0abcdefghij"]),
    ("gitlab", "", &["gl", "pat-PLANTED0010IjKlMnOp"]),
    ("slack", "", &["xox", "b-1234567890-PLANTED0011"]),
    ("slack hook", "https://hooks.", &["slack.com/services/T00/B00/PLANTED0012"]),
    ("stripe", "", &["sk_", "live_PLANTED0013yjWDarjtT1"]),
    ("openai project", "", &["sk-", "proj-PLANTED0014hiJKL"]),
    ("openai", "", &["sk-", "PLANTED0015klmnop1234567890"]),
    ("anthropic", "", &["sk-", "ant-api03-PLANTED0016"]),
    ("hugging face", "", &["hf", "_PLANTED0017lMnOpQrStUvWxYzAbCdEf"]),
    ("nvidia", "", &["nv", "api-PLANTED0018EF123456"]),
    ("npm", "", &["np", "m_PLANTED0019lmnopqrstuvwxyz012345"]),
    ("pypi", "", &["pyp", "i-AgEIcHlwaS5vcmcPLANTED0020"]),
    ("sendgrid", "", &["SG", ".PLANTED0021ijklmnop.qrstuvwxyz012345"]),
    ("groq", "", &["gs", "k_PLANTED0022jklmnopqrstuvwx"]),
    ("vault", "", &["hv", "s.PLANTED0023Jabcdefghijklmnop"]),
    ("telegram", "", &["123456789:AA", "PLANTED0024vCH1vGWJxfSeofSAs0K5"]),
    ("jwt", "", &["ey", "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiJQTEFOVEVEMDAyNSJ9.PLANTED0025"]),
    ("pem", "-----BEGIN RSA ", &["PRIVATE KEY-----\nMIIEowPLANTED0026IBAAKCAQEA\n-----END RSA PRIVATE KEY-----"]),
    ("database url", "postgres://admin:", &["PLANTED0027@db.internal:5432/app"]),
    ("redis url", "redis://:", &["PLANTED0028@cache"]),
    ("authorization line", "Authorization: Bearer ", &["PLANTED0029.abc.def"]),
    ("cookie line", "Cookie: session=", &["PLANTED0030; theme=dark"]),
    ("api key line", "x-api-key: ", &["PLANTED0031abcdef12"]),
    ("password", "password=", &["PLANTED0032"]),
    ("spoken password", "my password is ", &["PLANTED0033"]),
    ("password in json", "{\"db_password\": \"", &["PLANTED0034\"}"]),
    ("token in a query", "GET /x?user=1&token=", &["PLANTED0035abc"]),
    ("connection string", "Server=db;Uid=sa;Pwd=", &["PLANTED0036;Encrypt=yes"]),
    ("client secret", "client_secret: ", &["PLANTED0037swordfish"]),
    ("unknown key", "value ", &["kJ8sLq2ZpX9vTb4RnY7wEe3MhUc6Fd1g"]),
];

#[rustfmt::skip]
const PERSONAL: &[(&str, &str, &str)] = &[
    ("email", "mail ", "planted.one@mail.example.com"),
    ("email with plus", "mail ", "planted+two@example.co.uk"),
    ("card", "pay ", "4111 1111 1111 1111"),
    ("amex", "pay ", "378282246310005"),
    ("iban", "to ", "DE89 3704 0044 0532 0130 00"),
    ("iban without spaces", "to ", "GB29NWBK60161331926819"),
    ("ssn", "SSN ", "219-09-9999"),
    ("phone", "call ", "+49 30 901820"),
    ("us phone", "call ", "(415) 555-2671"),
    ("ip", "from ", "203.0.113.77"),
    ("ipv6", "from ", "2001:db8::8a2e:370:7334"),
    ("mac", "device ", "00:1B:44:11:3A:B7"),
    ("passport", "passport no: ", "X1234567"),
    ("birth date", "dob: ", "1980-02-29"),
    ("national insurance", "NINO ", "AB123456C"),
];

/// More than fifty.
pub fn all() -> Vec<Plant> {
    let secrets = SECRETS.iter().map(|(kind, before, parts)| {
        let needle = parts.concat();
        let text = format!("{before}{needle}");
        let marked = needle.find("PLANTED").map(|at| needle[at..at + 11].to_owned());
        Plant { kind, text, needle: marked.unwrap_or(needle), personal: false }
    });
    let personal = PERSONAL.iter().map(|(kind, before, needle)| Plant {
        kind,
        text: format!("{before}{needle}"),
        needle: (*needle).to_owned(),
        personal: true,
    });
    secrets.chain(personal).collect()
}

/// All of them in one text, a line each, between ordinary words.
pub fn text(plants: &[Plant]) -> String {
    let lines: Vec<&str> = plants.iter().map(|plant| plant.text.as_str()).collect();
    format!("{ORDINARY}\n{}\n{ORDINARY}", lines.join("\n"))
}

/// The kinds that are found in these bytes, whole, or as JSON writes them.
pub fn found(plants: &[Plant], bytes: &[u8]) -> Vec<&'static str> {
    let has = |needle: &[u8]| memchr::memmem::find(bytes, needle).is_some();
    plants.iter().filter(|plant| has(plant.needle.as_bytes())).map(|plant| plant.kind).collect()
}
