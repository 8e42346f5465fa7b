-- A multi-tenant application: each company's rows are on one shard, so its queries stay on one node.
CREATE TABLE companies (
    id bigint PRIMARY KEY,
    name text NOT NULL
);
CREATE TABLE users (
    company_id bigint NOT NULL,
    id bigint NOT NULL,
    email text NOT NULL,
    PRIMARY KEY (company_id, id)
);
CREATE TABLE projects (
    company_id bigint NOT NULL,
    id bigint NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (company_id, id)
);
CREATE TABLE plans (
    id int PRIMARY KEY,
    name text NOT NULL
);
CREATE TABLE release_notes (
    id int PRIMARY KEY,
    body text NOT NULL
);

SELECT create_reference_table('plans');
SELECT create_distributed_table('companies', 'id');
SELECT create_distributed_table('users', 'company_id', colocate_with => 'companies');
SELECT create_distributed_table('projects', 'company_id', colocate_with => 'companies');
-- a foreign key between tables on the same shard
ALTER TABLE users ADD FOREIGN KEY (company_id) REFERENCES companies (id);
ALTER TABLE projects ADD FOREIGN KEY (company_id) REFERENCES companies (id);

INSERT INTO plans VALUES (1, 'free'), (2, 'team'), (3, 'enterprise');
INSERT INTO release_notes VALUES (1, 'first release');
INSERT INTO companies SELECT i, 'company ' || i FROM generate_series(1, 1000) i;
INSERT INTO users SELECT c, u, format('user%s@company%s.example', u, c) FROM generate_series(1, 1000) c, generate_series(1, 10) u;
INSERT INTO projects SELECT c, p, format('project %s', p) FROM generate_series(1, 1000) c, generate_series(1, 20) p;
